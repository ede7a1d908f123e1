"""What `serve --embedded DIR` sets: everything below one directory. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.app.config.load import Override
from cri.app.embedded_layout import embedded_layout

if TYPE_CHECKING:
    from pathlib import Path

    from cri.app.config.problems import KeyPath


def embedded_overrides(directory: Path) -> list[Override]:
    """Values that go over the file's, and below those of other flags.

    Raises InvalidArgument if sockets below the directory would have too long a path.
    """
    layout = embedded_layout(directory)
    values: dict[KeyPath, object] = {
        ("root",): str(layout.directory / "root"),
        ("state",): str(layout.directory / "state"),
        ("grpc", "address"): str(layout.directory / "cri-shim.sock"),
        ("containerd", "address"): layout.address,
        ("cni", "conf_dir"): str(layout.cni_conf_dir),
        ("cni", "cache_dir"): str(layout.directory / "cni" / "cache"),
        ("netns_mounts_under_state_dir",): True,
    }
    return [Override(path, value, "flag --embedded") for path, value in values.items()]
