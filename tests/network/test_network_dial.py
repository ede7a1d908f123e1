"""Connections to ports inside a network namespace."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cri.errors import FailedPrecondition
from cri.linux.namespaces import (
    create_network_namespace,
    inside_network_namespace,
    remove_network_namespace,
)
from cri.network.dial import dial_loopback


@pytest_asyncio.fixture
async def namespace(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "netns"
    await create_network_namespace(path)
    yield path
    await remove_network_namespace(path)


def _listen(family: socket.AddressFamily, address: str, port: int = 0) -> socket.socket:
    made = socket.socket(family)
    made.bind((address, port))
    made.listen()
    return made


async def test_a_port_that_is_open_only_inside(namespace: Path):
    with await inside_network_namespace(namespace, lambda: _listen(socket.AF_INET, "127.0.0.1")) as listener:
        port = listener.getsockname()[1]
        with await dial_loopback(namespace, port) as dialled, listener.accept()[0] as accepted:
            await asyncio.get_running_loop().sock_sendall(dialled, b"hello")
            assert accepted.recv(10) == b"hello"
        with pytest.raises(FailedPrecondition, match=f"port {port} .*Connection refused"):
            await dial_loopback(None, port)


async def test_ipv6_is_tried_second(namespace: Path):
    try:
        listener = await inside_network_namespace(namespace, lambda: _listen(socket.AF_INET6, "::1"))
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with listener, await dial_loopback(namespace, listener.getsockname()[1]) as dialled:
        assert dialled.family == socket.AF_INET6


async def test_the_hosts_own_namespace():
    listener = _listen(socket.AF_INET, "127.0.0.1")
    with listener, await dial_loopback(None, listener.getsockname()[1]) as dialled:
        assert dialled.getpeername() == listener.getsockname()


async def test_a_namespace_that_is_gone(tmp_path: Path):
    with pytest.raises(FailedPrecondition, match="No such file"):
        await dial_loopback(tmp_path / "gone", 80)
