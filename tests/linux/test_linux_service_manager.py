"""What a service manager hears."""

from __future__ import annotations

import socket

import pytest

from cri.linux.service_manager import READY, tell


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
