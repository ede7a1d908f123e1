"""A `certs.d` tree that sends registry names to registries on loopback (containerd's hosts.toml)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.registry import Registry


def write_mirror(tree: Path, name: str, registry: Registry) -> None:
    """Let pulls from `name` (a registry host, with port if any) go to `registry` and nowhere else."""
    directory = tree / name
    directory.mkdir(parents=True, exist_ok=True)
    lines = [
        f"server = {json.dumps(registry.url)}",
        "",
        f"[host.{json.dumps(registry.url)}]",
        'capabilities = ["pull", "resolve"]',
    ]
    if registry.certificate is not None:
        lines.append(f"ca = {json.dumps(str(registry.certificate.certificate))}")
    (directory / "hosts.toml").write_text("\n".join(lines) + "\n")


def distrust(tree: Path, name: str) -> None:
    """Take the registry's authority out of an entry, so that its certificate is one of nobody's."""
    file = tree / name / "hosts.toml"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("ca =")))
