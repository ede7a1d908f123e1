"""A connection alone: who else has a turn while it is busy."""

from __future__ import annotations

import asyncio
import socket
import threading

from cri.stream.transport import MOST_UNREAD_ANSWER_BYTES, MOST_UNSENT_BYTES, Transport

BLOCK = bytes(64 << 10)
BLOCKS = 200


def drain(client: socket.socket) -> None:
    while client.recv(1 << 20):
        pass


async def test_a_sender_that_never_waits_gives_others_a_turn():
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)
    reading = threading.Thread(target=drain, args=(theirs,))
    reading.start()
    loop = asyncio.get_running_loop()
    _, transport = await loop.connect_accepted_socket(Transport, ours)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        beside = group.create_task(other())
        for _ in range(BLOCKS):
            await transport.send([BLOCK])
        beside.cancel()
    await transport.close()
    reading.join()
    theirs.close()
    assert turns >= BLOCKS, "one turn for each block"


async def test_answers_to_a_peer_that_does_not_read_wait_only_when_they_are_many():
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    _, transport = await loop.connect_accepted_socket(Transport, ours)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        sending = group.create_task(transport.send([bytes(2 * MOST_UNSENT_BYTES)]))
        await asyncio.sleep(0)
        await transport.answer([bytes(MOST_UNREAD_ANSWER_BYTES)])
        assert not sending.done()
        answering = group.create_task(transport.answer([b"one more"]))
        await asyncio.sleep(0)
        assert not answering.done()
        left = 2 * MOST_UNSENT_BYTES + MOST_UNREAD_ANSWER_BYTES + len(b"one more")
        while left:
            left -= len(await loop.sock_recv(theirs, left))
    await transport.answer([b"last"])
    assert await loop.sock_recv(theirs, 10) == b"last"
    transport.abort()
    theirs.close()
