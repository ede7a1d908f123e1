"""The reference of metrics as Markdown, from the metrics themselves: `docs/metrics.md`. Pure.

python -m cri.observe.reference > docs/metrics.md
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cri.observe.metrics import Metrics
from cri.observe.snapshots import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = """\
# Metrics

Served for Prometheus at `[metrics] address`, `http://127.0.0.1:1338/metrics` by default. No label holds the name of a
pod, container or image, so the number of series does not grow with what runs. `process_*` and `python_*` are those of
every Python program.

| series | type | what it tells |
|---|---|---|
"""
TAIL = """
Operations are CRI's calls and the server's own (Recover at the start, Reconcile when containerd came back, Janitor);
`cri-shim status` and `cri-shim timeline POD` show the same stages of a single one.

This page is made from the code (`make docs`); a test keeps it so.
"""

ENDINGS = {"counter": "_total", "info": "_info"}
"""What the exposition puts behind the name."""


def reference() -> str:
    """The page."""
    return HEAD + "".join(_rows()) + TAIL


def _rows() -> Iterator[str]:
    families = {family.name: family for family in Metrics().registry.collect()}
    for name, family in sorted(families.items()):
        if name.startswith(PREFIX):
            yield f"| `{name}{ENDINGS.get(family.type, '')}` | {family.type} | {family.documentation} |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
