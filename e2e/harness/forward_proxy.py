"""A forward proxy on loopback (RFC 9110 sections 7.6 and 9.3.6), through which hosts are reached that exist nowhere.

It answers CONNECT with a tunnel and hands on requests in absolute form as they are, which servers understand.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

BLOCK_BYTES = 1 << 16


@dataclass(slots=True)
class ForwardProxy:
    """A running proxy; `url` is for the environment, `asked` are the first lines of requests."""

    targets: Mapping[str, str]
    """Where `host:port` of a request is really served, as host:port."""
    login: str
    url: str = ""
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split()
            self.asked.append(f"{method} {target}")
            expected = b"Proxy-Authorization: Basic " + base64.b64encode(self.login.encode()) + b"\r\n"
            if expected not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            host, _, port = self.targets[_authority(method, target)].partition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            with contextlib.closing(far_writer):
                if method == "CONNECT":
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    far_writer.write(head)
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pipe(reader, far_writer))
                    group.create_task(_pipe(far_reader, writer))


@contextlib.asynccontextmanager
async def forward_proxy(login: str, targets: Mapping[str, str]) -> AsyncIterator[ForwardProxy]:
    """Serve who knows `login` (user:password)."""
    proxy = ForwardProxy(targets, login)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy.url = f"http://{login}@127.0.0.1:{port}"
    async with server:
        yield proxy


def _authority(method: str, target: str) -> str:
    if method == "CONNECT":
        return target
    parts = urlsplit(target)
    return f"{parts.hostname}:{parts.port or 80}"


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(BLOCK_BYTES):
            writer.write(block)
            await writer.drain()
    writer.close()
