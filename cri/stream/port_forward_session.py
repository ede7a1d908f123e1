"""A port-forward session: many connections to ports of a pod over one connection of the client's.

Connections do not concern each other: each is a task that dials, copies both ways and ends or fails alone. Each has a
bounded buffer towards the pod; only when that is full does the whole client wait, because what carries the session
has one direction for all.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

import structlog

from cri.concurrency.together import together
from cri.errors import CriError
from cri.stream.buffer import Buffer
from cri.stream.link import Link
from cri.stream.port_forward import (
    Block,
    ClientLeft,
    Dropped,
    Ended,
    ForwardEvent,
    PortForwardProtocol,
    Requested,
    RoomMade,
)

if TYPE_CHECKING:
    from cri.stream.endpoints import PortDialler
    from cri.stream.transport import Transport

log = structlog.get_logger(__name__)

PAIR_SECONDS: Final = 30.0
"""How long the second stream of a pair may take at least."""
BLOCK_BYTES: Final = 256 << 10


class PortForwardSession:
    """Serves one client."""

    def __init__(
        self, transport: Transport, protocol: PortForwardProtocol, first: bytes, dialler: PortDialler
    ) -> None:
        self._protocol = protocol
        self._dialler = dialler
        self._link: Link[ForwardEvent] = Link(transport, protocol, first)
        self._buffers: dict[int, Buffer] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._room = asyncio.Event()
        self._idle = asyncio.Event()

    async def serve(self) -> None:
        """Serve until the client is gone, or has what it asked for where it cannot ask for more."""
        async with asyncio.TaskGroup() as group:
            serving = [group.create_task(self._listen(group)), group.create_task(self._sweep())]
            if self._protocol.endless:
                await self._link.gone.wait()
            else:
                await self._idle.wait()
            for task in (*serving, *self._tasks.values()):
                task.cancel()
        await self._link.farewell()

    async def _listen(self, group: asyncio.TaskGroup) -> None:
        async for event in self._link.events():
            match event:
                case Requested(key, port):
                    self._buffers[key] = Buffer()
                    self._tasks[key] = group.create_task(self._connection(key, port), name=f"port {port}")
                    await asyncio.sleep(0)  # a task that is cancelled before it begins cleans up nothing
                case Block(key, block):
                    if (buffer := self._buffers.get(key)) is not None:
                        await buffer.put(block)
                case Ended(key):
                    if (buffer := self._buffers.get(key)) is not None:
                        buffer.end()
                case Dropped(key):
                    if (task := self._tasks.get(key)) is not None:
                        self._protocol.finish(key)
                        task.cancel()
                case RoomMade():
                    self._room.set()
                case ClientLeft():
                    self._link.gone.set()
        self._room.set()
        self._idle.set()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(PAIR_SECONDS)
            self._protocol.sweep()
            await self._link.flush()

    async def _connection(self, key: int, port: int) -> None:
        buffer = self._buffers[key]
        end = self._protocol.finish
        try:
            with await self._dialler.dial(port) as pod:
                whole, _ = await together(self._from_pod(key, pod, buffer), self._to_pod(key, pod, buffer))
                end = self._protocol.finish if whole else self._protocol.abort
        except CriError as error:
            log.info("port cannot be reached", port=port, error=error.message)
            self._protocol.fail(key, error.message)
        finally:
            end(key)
            buffer.close()
            del self._buffers[key], self._tasks[key]
            if not self._tasks:
                self._idle.set()
        await self._link.flush()

    async def _from_pod(self, key: int, pod: socket.socket, buffer: Buffer) -> bool:
        """Whether the pod ended the connection in good order."""
        loop = asyncio.get_running_loop()
        try:
            while block := await loop.sock_recv(pod, BLOCK_BYTES):
                await self._send(key, block)
        except OSError as error:
            log.debug("connection to a port broke", error=str(error))
            buffer.close()
            return False
        self._protocol.end(key)
        await self._link.flush()
        if not self._protocol.half_close:
            buffer.close()  # nobody could tell the client that only this direction has ended
        return True

    async def _to_pod(self, key: int, pod: socket.socket, buffer: Buffer) -> None:
        loop = asyncio.get_running_loop()
        try:
            while block := await buffer.get():
                await loop.sock_sendall(pod, block)
                self._protocol.consumed(key, len(block))
                await self._link.answer()
            pod.shutdown(socket.SHUT_WR)
        except OSError:  # the pod takes no more; whether it still sends is seen on the other side
            buffer.close()

    async def _send(self, key: int, block: bytes) -> None:
        view = memoryview(block)
        while view and not self._link.gone.is_set():
            room = self._protocol.room(key)
            if not room:
                self._room.clear()
                await self._room.wait()
                continue
            self._protocol.send(key, view[:room])
            view = view[room:]
            await self._link.flush()
