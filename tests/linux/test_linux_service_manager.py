"""What a service manager hears."""

from __future__ import annotations

import os
import socket

import pytest

from cri.linux.service_manager import READY, tell, watchdog_seconds


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears(tmp_path, monkeypatch, abstract):
    address = f"@cri-shim-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if abstract else address)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert tell(READY)
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nonexistent/notify"])
def test_without_a_manager_nothing_happens(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not tell(READY)


@pytest.mark.parametrize(
    ("pid", "microseconds", "seconds"),
    [
        ("", "30000000", 30.0),
        ("own", "500000", 0.5),
        ("1", "30000000", None),
        ("", "", None),
        ("", "0", None),
        ("", "soon", None),
    ],
)
def test_the_watchdog_is_for_the_process_that_the_manager_names(monkeypatch, pid, microseconds, seconds):
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    assert watchdog_seconds() == seconds
