"""How much longer than usual things may take here: E2E_PATIENCE=10 for an emulated machine."""

from __future__ import annotations

import os

FACTOR = float(os.environ.get("E2E_PATIENCE", "1"))


def patiently(seconds: float) -> float:
    """A time limit, extended by what this machine needs."""
    return seconds * FACTOR
