"""Where an embedded containerd keeps what, and its configuration file, both derived from one directory.

Pure: paths and text only. Creating, starting and removing is in `cri.app.embedded` and its neighbours.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_SOCKET_PATH = 107
"""`sockaddr_un.sun_path` holds 108 bytes with the final zero (unix(7)); a longer path cannot be bound."""

DISABLED_PLUGINS = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.internal.v1.restart",
    "io.containerd.nri.v1.nri",
)
"""What would answer in our place (CRI, by its names in 1.x and 2.x), restart containers behind our back, or
listen on a host-wide socket (NRI). A name that a containerd does not know is ignored by it."""


@dataclass(frozen=True, slots=True)
class EmbeddedLayout:
    """Paths below one directory."""

    directory: Path

    @property
    def address(self) -> str:
        """containerd's gRPC socket."""
        return str(self.directory / "containerd.sock")

    @property
    def configuration_file(self) -> Path:
        """containerd's own TOML file."""
        return self.directory / "containerd.toml"

    @property
    def root(self) -> Path:
        """containerd's persistent data: content, snapshots, metadata."""
        return self.directory / "containerd"

    @property
    def state(self) -> Path:
        """containerd's run-time data: bundles and rootfs mounts."""
        return self.directory / "containerd-state"

    @property
    def bundles(self) -> Path:
        """The OCI bundles of running tasks, as `<namespace>/<container id>/`."""
        return self.state / "io.containerd.runtime.v2.task"

    @property
    def log_file(self) -> Path:
        """What containerd writes to its standard output and error."""
        return self.directory / "containerd.log"

    @property
    def pid_file(self) -> Path:
        """The process id of the containerd in use, for the next life to adopt it after a crash."""
        return self.directory / "containerd.pid"

    @property
    def lock_file(self) -> Path:
        """Held with flock(2) by the process that uses the directory."""
        return self.directory / "lock"

    @property
    def cni_conf_dir(self) -> Path:
        """CNI network configuration, one file."""
        return self.directory / "cni" / "net.d"

    @property
    def cni_conf_file(self) -> Path:
        """The bridge network's list."""
        return self.cni_conf_dir / "10-bridge.conflist"

    @property
    def reservations(self) -> Path:
        """Where the host-local plugin keeps one file per address in use."""
        return self.directory / "cni" / "reservations"

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that stand for this directory in host-wide names (bridge, network)."""
        return hashlib.sha256(str(self.directory).encode()).hexdigest()[:8]

    @property
    def ttrpc_address(self) -> str:
        """containerd's ttrpc socket, on which shims publish events."""
        return self.address + ".ttrpc"


def embedded_layout(directory: Path) -> EmbeddedLayout:
    """The layout below `directory`, made absolute. Raises InvalidArgument if its socket cannot be bound."""
    layout = EmbeddedLayout(directory.absolute())
    length = len(layout.ttrpc_address.encode())
    if length > LONGEST_SOCKET_PATH:
        raise InvalidArgument(
            f"embedded directory {layout.directory} is too long for a Unix socket below it: "
            f"{layout.ttrpc_address} has {length} bytes, {LONGEST_SOCKET_PATH} are possible; shorten it"
        )
    return layout


def containerd_configuration(
    layout: EmbeddedLayout, disabled_plugins: tuple[str, ...] = DISABLED_PLUGINS
) -> str:
    """The TOML text for containerd 1.6 to 2.x (version 2 of its format, which 2.x still reads)."""
    plugins = ", ".join(json.dumps(name) for name in disabled_plugins)
    return f"""\
version = 2
root = {json.dumps(str(layout.root))}
state = {json.dumps(str(layout.state))}
disabled_plugins = [{plugins}]

[grpc]
address = {json.dumps(layout.address)}

[ttrpc]
address = {json.dumps(layout.ttrpc_address)}

[plugins."io.containerd.internal.v1.opt"]
path = {json.dumps(str(layout.root / "opt"))}
"""
