"""An in-memory containerd for tests, served over a real unix socket; see containerd.py."""

from tests.double.calls import Call, Hang
from tests.double.containerd import ContainerdDouble, Leftovers, until
from tests.double.processes import FakeProcess
from tests.double.scripts import LIVES, STUBBORN, Script

__all__ = [
    "LIVES",
    "STUBBORN",
    "Call",
    "ContainerdDouble",
    "FakeProcess",
    "Hang",
    "Leftovers",
    "Script",
    "until",
]
