"""Client: one containerd, one namespace, all its services."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Self

from api.containerd.calls import CallObserver, Link
from api.containerd.containers import Containers
from api.containerd.content import Content
from api.containerd.diff import Diff
from api.containerd.events import Events
from api.containerd.images import Images
from api.containerd.introspection import Introspection
from api.containerd.leases import Leases
from api.containerd.namespaces import Namespaces
from api.containerd.snapshots import Snapshots
from api.containerd.streams import Streams
from api.containerd.tasks import Tasks
from api.containerd.transfer import Transfer
from api.containerd.version import Version

if TYPE_CHECKING:
    from types import TracebackType


class Client:
    """All services of a containerd over one connection, bound to one namespace.

    Make it inside of a running event loop. Nothing is sent before the first call, and a daemon that is away
    makes calls fail with Unavailable, not the client: it finds the daemon again when that is back. All calls
    raise subclasses of `errors.ContainerdError`, and all take `timeout` in seconds (None: the deadline that
    `terms` has for the method; `NO_DEADLINE`: none).
    """

    def __init__(
        self,
        address: str,
        namespace: str = "k8s.io",
        *,
        observer: CallObserver | None = None,
        timeout: float | None = None,
        link: Link | None = None,
    ) -> None:
        """`address` is the path of the daemon's unix socket, with or without "unix://".

        `observer(service, method, code, seconds)` hears of each finished call. `timeout` (seconds) shortens
        every deadline of unary calls that is longer (see `terms`). `link` makes a client that shares another's
        connection (see `under`); that one has to be closed, this one need not.
        """
        self._link = link or Link(address, namespace, timeout=timeout, observer=observer)
        self._owns_link = link is None
        self.address = self._link.address
        """The socket's path."""
        self.namespace = self._link.namespace
        self._snapshots: dict[str, Snapshots] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way fail with Unavailable."""
        if self._owns_link:
            await self._link.close()

    def under(self, lease_id: str) -> Client:
        """The same client and connection with all calls on behalf of a lease: what they make, it holds."""
        return Client(self.address, self.namespace, link=self._link.under(lease_id))

    def snapshots(self, snapshotter: str) -> Snapshots:
        """The snapshots of one snapshotter."""
        bound = self._snapshots.get(snapshotter)
        if bound is None:
            bound = self._snapshots[snapshotter] = Snapshots(self._link, snapshotter)
        return bound

    @cached_property
    def containers(self) -> Containers:
        """Container records."""
        return Containers(self._link)

    @cached_property
    def content(self) -> Content:
        """Blobs and ingests."""
        return Content(self._link)

    @cached_property
    def diff(self) -> Diff:
        """Layers to trees and back."""
        return Diff(self._link)

    @cached_property
    def events(self) -> Events:
        """What happens."""
        return Events(self._link)

    @cached_property
    def images(self) -> Images:
        """Image records."""
        return Images(self._link)

    @cached_property
    def introspection(self) -> Introspection:
        """Plugins and identity of the daemon."""
        return Introspection(self._link)

    @cached_property
    def leases(self) -> Leases:
        """What holds things from the garbage collector."""
        return Leases(self._link, self.under)

    @cached_property
    def namespaces(self) -> Namespaces:
        """The daemon's namespaces."""
        return Namespaces(self._link)

    @cached_property
    def streams(self) -> Streams:
        """Channels for the transfer service."""
        return Streams(self._link)

    @cached_property
    def tasks(self) -> Tasks:
        """Running containers and their processes."""
        return Tasks(self._link)

    @cached_property
    def transfer(self) -> Transfer:
        """Whole image operations by the daemon."""
        return Transfer(self._link)

    @cached_property
    def version(self) -> Version:
        """Version of the daemon."""
        return Version(self._link)
