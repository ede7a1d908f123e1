"""Everything that this node runs, in memory: rebuilt from containerd at start, never the only place of a fact.

A name is reserved from the beginning of a Run or Create until the object is removed, so that two requests for one
name cannot make two objects.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from cri.errors import AlreadyExists
from cri.state.changes import ChangeKind, Changes
from cri.state.index import Index

if TYPE_CHECKING:
    from collections.abc import Callable

    from cri.state.container import Container
    from cri.state.sandbox import Sandbox


class Names:
    """CRI names and the id of the object that holds each."""

    def __init__(self, noun: str) -> None:
        """`noun` is what error messages call the objects."""
        self._noun = noun
        self._holders: dict[str, str] = {}
        self._watchers: list[Callable[[str], None]] = []

    def on_release(self, watcher: Callable[[str], None]) -> None:
        """Call `watcher` with each name whose holder has gone."""
        self._watchers.append(watcher)

    def reserve(self, name: str, identifier: str) -> None:
        """Take `name`; raises AlreadyExists naming the holder if another object has it."""
        holder = self._holders.setdefault(name, identifier)
        if holder != identifier:
            raise AlreadyExists(
                f"the {self._noun} name {name!r} belongs to {self._noun} {holder}; remove that one first"
            )

    def release(self, name: str, identifier: str) -> None:
        """Give `name` back if `identifier` still holds it."""
        if self._holders.get(name) == identifier:
            del self._holders[name]
            for watcher in self._watchers:
                watcher(name)

    @property
    def holders(self) -> frozenset[str]:
        """The ids that hold names: of all objects in the index, and of those that are being made."""
        return frozenset(self._holders.values())

    def holder(self, name: str) -> str | None:
        """The id that holds `name`."""
        return self._holders.get(name)


class Node:
    """The index of sandboxes and containers."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.sandboxes: Index[Sandbox] = Index("pod sandbox")
        self.containers: Index[Container] = Index("container")
        self.forming: dict[str, Sandbox] = {}
        """Sandboxes that are being run, by id: not visible yet, but what happens to their processes matters."""
        self.quarantined: dict[str, str] = {}
        """Records in containerd that cannot be used, by id, with the reason."""
        self.sandbox_names = Names("pod sandbox")
        self.container_names = Names("container")
        self._by_sandbox: defaultdict[str, dict[str, Container]] = defaultdict(dict)

    def add_sandbox(self, sandbox: Sandbox) -> None:
        """Make a sandbox visible to lists and lookups."""
        self.sandbox_names.reserve(sandbox.record.name, sandbox.id)
        self.sandboxes.add(sandbox)

    def remove_sandbox(self, sandbox: Sandbox) -> None:
        """Forget a sandbox whose record is gone, and with that release its name."""
        self.sandboxes.remove(sandbox.id)
        self._by_sandbox.pop(sandbox.id, None)
        self.sandbox_names.release(sandbox.record.name, sandbox.id)
        self.changes.sandbox(ChangeKind.DELETED, sandbox)

    def sandbox_ended(self, sandbox: Sandbox) -> None:
        """Note that the sandbox's process is gone: the pod is not ready any more."""
        was_ready, sandbox.ready = sandbox.ready, False
        sandbox.ended.set()
        if was_ready:
            self.changes.sandbox(ChangeKind.STOPPED, sandbox)

    def add_container(self, container: Container) -> None:
        """Make a container visible to lists and lookups."""
        self.container_names.reserve(container.record.name, container.id)
        self.containers.add(container)
        self._by_sandbox[container.record.sandbox_id][container.id] = container

    def remove_container(self, container: Container) -> None:
        """Forget a container whose record is gone, and with that release its name."""
        self.containers.remove(container.id)
        self._by_sandbox[container.record.sandbox_id].pop(container.id, None)
        self.container_names.release(container.record.name, container.id)
        self.changes.container(ChangeKind.DELETED, container)

    def containers_of(self, sandbox_id: str) -> list[Container]:
        """The containers of one sandbox, in order of creation."""
        return list(self._by_sandbox.get(sandbox_id, {}).values())
