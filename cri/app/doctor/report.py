"""Findings as text for people and as JSON for programs. Pure."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from typing import TYPE_CHECKING

from cri.app.doctor.finding import Level
from cri.app.doctor.judge_containerd import judge_containerd
from cri.app.doctor.judge_kernel import judge_kernel
from cri.app.doctor.judge_network import judge_network
from cri.app.doctor.judge_node import judge_node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cri.app.doctor.facts import Facts
    from cri.app.doctor.finding import Finding

WIDTH = 100
INDENT = " " * 10
_ORDER = list(Level)


def findings(facts: Facts) -> list[Finding]:
    """All findings, the worst first."""
    found = [*judge_containerd(facts), *judge_kernel(facts), *judge_network(facts), *judge_node(facts)]
    return sorted(found, key=lambda finding: _ORDER.index(finding.level))


def seen(facts: Facts) -> dict[str, str]:
    """What the node is like in a few words, so that a report without findings says something too."""
    networks = [
        f"{path} ({', '.join(types)})" for cni in facts.network.cni for path, types in cni.networks.items()
    ]
    return {
        "kernel": f"Linux {facts.kernel.release}",
        "cgroups": f"version {facts.cgroups.version}, " + " ".join(sorted(facts.cgroups.controllers)),
        "containerd": facts.containerd.problem or f"{facts.containerd.version} at {facts.containerd.address}",
        "runtimes": "; ".join(f"{each.name}: {each.version or each.runtime_type}" for each in facts.handlers),
        "networks": "; ".join(networks) or "none",
        "iptables": facts.network.iptables or "none",
        "registries": ", ".join(each.host for each in facts.registries) or "not asked (--registry HOST)",
    }


def as_text(facts: Facts, found: Sequence[Finding]) -> str:
    """A report to read."""
    lines = [f"{name:<11} {text}" for name, text in seen(facts).items()]
    for finding in found:
        lines += ["", *_wrapped(f"{finding.level.value.upper():<9} {finding.area}: {finding.what}")]
        lines += _wrapped(INDENT + finding.why)
        lines += [
            f"{INDENT}-> {line}" if number == 0 else f"{INDENT}   {line}"
            for number, line in enumerate(finding.remedy.splitlines())
        ]
    counts = [f"{sum(each.level is level for each in found)} {level.value}" for level in Level]
    lines += ["", ", ".join(counts) if found else "no findings"]
    return "\n".join(lines)


def as_json(facts: Facts, found: Sequence[Finding]) -> str:
    """The same for programs: `seen` and `findings`."""
    items = [dataclasses.asdict(finding) | {"level": finding.level.value} for finding in found]
    return json.dumps({"seen": seen(facts), "findings": items}, indent=2)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=INDENT, break_on_hyphens=False, break_long_words=False
    )
