"""What holds a sandbox's namespaces, as the sandbox operations see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from api.containerd import Container as ContainerdContainer
    from cri.concurrency.undo import UndoStack
    from cri.container.handlers import Handler
    from cri.oci.selinux import SelinuxLabels
    from cri.state.sandbox import Sandbox


class Holder(Protocol):
    """The steps of a sandbox's life that depend on what holds its namespaces; one object an operation."""

    async def describe(
        self, sandbox: Sandbox, handler: Handler, labels: SelinuxLabels
    ) -> ContainerdContainer:
        """The sandbox's record as containerd is to have it. Raises InvalidArgument for what cannot be honoured."""

    async def pin(self, sandbox: Sandbox, undo: UndoStack) -> None:
        """Make what must be there before CNI ADD."""

    async def hold(self, sandbox: Sandbox, handler: Handler, undo: UndoStack) -> None:
        """Make the rest, beside CNI ADD."""

    async def let_go(self, sandbox: Sandbox) -> None:
        """End the hold; containers have ended, the network may still be in use. Idempotent."""

    async def forget(self, sandbox: Sandbox) -> None:
        """Remove from containerd what is neither record nor task, after `let_go`. Idempotent."""
