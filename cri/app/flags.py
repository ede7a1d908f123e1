"""The flags that go over the configuration file, for every command that works on a server's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cri.app.config.load import Override

FLAGS = {
    "listen": ("grpc", "address"),
    "containerd": ("containerd", "address"),
    "root": ("root",),
    "state": ("state",),
    "cni_conf_dir": ("cni", "conf_dir"),
    "cni_bin_dir": ("cni", "bin_dir"),
    "log_keeper_cgroup": ("log_keeper_cgroup",),
    "metrics_address": ("metrics", "address"),
    "log_level": ("debug", "level"),
    "log_format": ("debug", "format"),
}
"""Keys of the configuration by flag."""


def overrides(embedded: Path | None, flags: dict[str, str | None]) -> list[Override]:
    """The flags given, as overrides; those implied by --embedded come first so that others go over them."""
    from cri.app.config.embedded import embedded_overrides
    from cri.app.config.load import Override

    implied = [] if embedded is None else embedded_overrides(embedded)
    given = [
        Override(FLAGS[name], value, f"flag --{name.replace('_', '-')}")
        for name, value in flags.items()
        if value is not None
    ]
    return [*implied, *given]
