"""Tells the service manager that started this process how it fares (sd_notify(3)): a datagram to $NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"


def reloading() -> str:
    """The state of a server that reads its configuration again, until it is READY once more."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog_seconds() -> float | None:
    """How long the manager waits for a sign of life before it ends this process (sd_watchdog_enabled(3)).

    None where it does not wait, or waits for another process.
    """
    pid = os.environ.get("WATCHDOG_PID", "")
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1e6 or None


def tell(state: str) -> bool:
    """Send `state`; False where no service manager listens. A manager that does not take it is none of our troubles."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # the abstract namespace, whose names begin with a NUL byte
        address = "\0" + address[1:]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        contextlib.suppress(OSError),
    ):
        sender.settimeout(0)
        sender.sendto(state.encode(), address)
        return True
    return False
