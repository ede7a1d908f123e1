"""A connection alone: who else has a turn while it is busy."""

from __future__ import annotations

import asyncio
import socket
import threading

from cri.stream.transport import Transport

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
