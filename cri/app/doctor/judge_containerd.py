"""Findings about containerd, its plugins and the runtimes behind it. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from api.containerd.introspection import DIFFER, SNAPSHOTTER
from cri.app.builtin_plugin import DISABLED
from cri.app.doctor.finding import Finding, broken, limited, note
from cri.state.plugin_files import is_loaded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cri.app.doctor.facts import ContainerdFacts, Facts, HandlerFacts

OLDEST = (1, 6)
OLDEST_RUNC = (1, 1)


def judge_containerd(facts: Facts) -> Iterator[Finding]:
    """containerd and everything that it starts."""
    containerd = facts.containerd
    if containerd.problem:
        yield broken(
            "containerd",
            f"{containerd.address}: {containerd.problem}",
            "Every pod, container and image is containerd's.",
            "systemctl start containerd, or set address in [containerd] of the configuration.",
        )
    else:
        yield from _daemon(containerd, allow_builtin_cri=facts.allow_builtin_cri)
        wanted = {facts.snapshotter, *(handler.snapshotter for handler in facts.handlers)}
        yield from _snapshotters(containerd, wanted)
    for handler in facts.handlers:
        yield from _handler(handler)


def _daemon(containerd: ContainerdFacts, *, allow_builtin_cri: bool) -> Iterator[Finding]:
    version = _version(containerd.version)
    if version is not None and version < OLDEST:
        yield broken(
            "containerd",
            f"version {containerd.version} is older than 1.6",
            "Its client API misses what pods need.",
            "Install containerd 1.6 or later (Debian 12: apt-get install containerd).",
        )
    if is_loaded(containerd.plugins):
        found = limited if allow_builtin_cri else broken
        yield found(
            "containerd",
            "its own CRI plugin is loaded",
            "Two CRI servers on one containerd undo each other's work; cri-shim does not start beside it unless "
            "allow_builtin_cri is set.",
            "In /etc/containerd/config.toml, below its version (version = 2 in a new file), "
            f"then systemctl restart containerd:\n{DISABLED}",
        )
    for text in containerd.deprecations:
        yield note(
            "containerd", text, "A later containerd will refuse it.", "See containerd's release notes."
        )


def _snapshotters(containerd: ContainerdFacts, wanted: set[str]) -> Iterator[Finding]:
    plugins = {plugin.id: plugin for plugin in containerd.plugins if plugin.type == SNAPSHOTTER}
    usable = sorted(name for name, plugin in plugins.items() if plugin.error is None)
    for name in sorted(wanted):
        plugin = plugins.get(name)
        if plugin is None or plugin.error is not None:
            yield broken(
                "containerd",
                f"snapshotter {name} is not there" + (f": {plugin.error}" if plugin and plugin.error else ""),
                "Images cannot be unpacked and containers have no root filesystem.",
                f"Set snapshotter in [containerd] to one of: {', '.join(usable) or 'none works, see containerd log'}; "
                "for overlayfs: modprobe overlay.",
            )
    if not any(plugin.type == DIFFER and plugin.error is None for plugin in containerd.plugins):
        yield broken(
            "containerd",
            "no differ plugin works",
            "Layers cannot be unpacked.",
            'Take "io.containerd.differ.v1.walking" off disabled_plugins.',
        )


def _handler(handler: HandlerFacts) -> Iterator[Finding]:
    if handler.shim_path is None:
        yield broken(
            "runtime",
            f"handler {handler.name}: shim {handler.shim} is not in PATH",
            "containerd starts it for every pod.",
            f"Install the package that has {handler.shim}, or correct runtime_type = {handler.runtime_type!r}.",
        )
    if handler.binary is None:
        return
    if handler.binary_path is None:
        yield broken(
            "runtime",
            f"handler {handler.name}: {handler.binary} is not there",
            "The shim starts containers with it.",
            f"Install {handler.binary}, or correct BinaryName in [containerd.runtimes.{handler.name}.options].",
        )
        return
    version = _version(handler.version)
    if version is not None and "runc" in handler.version and version < OLDEST_RUNC:
        yield limited(
            "runtime",
            f"handler {handler.name}: {handler.version}",
            "Before 1.1 runc cannot say what it can do; features count as missing.",
            "Install runc 1.1 or later.",
        )
    if not handler.recursive_read_only:
        yield limited(
            "runtime",
            f"handler {handler.name} has no recursive read-only mounts",
            "Volumes with recursiveReadOnly: Enabled are refused.",
            "runc 1.1 or later and Linux 5.12 or later.",
        )
    if not handler.user_namespaces:
        yield limited(
            "runtime",
            f"handler {handler.name} has no user namespaces",
            "Pods with hostUsers: false are refused.",
            "runc 1.2 or later (or crun 1.9) and Linux 5.19 or later, with the overlayfs snapshotter.",
        )


def _version(text: str) -> tuple[int, int] | None:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None
