"""`cri-shim pod exec -it` and `attach`: this program's streams as those of a command in a container."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import Any, Final

from cri.app.pod.standard_input import standard_input
from cri.app.pod.stream_client import StreamClient, connect_stream
from cri.app.pod.terminal import raw_terminal, sizes
from cri.concurrency.together import first_cause
from cri.errors import Internal, Unavailable
from cri.stream.channels import ChannelBlock, ChannelReader, Coding
from cri.stream.remote_command import V4, V5
from cri.stream.websocket_remote_command import CHANNELS, RESIZE, STDIN

PROTOCOLS: Final = (V5.name, V4.name)
BROKEN_PIPE_CODE: Final = 141
"""Nobody reads our output any more: as if SIGPIPE had ended us."""
END_OF_STDIN: Final = bytes((255, STDIN))
_DESCRIPTORS: Final = {CHANNELS["stdout"]: 1, CHANNELS["stderr"]: 2}


async def run_remote_command(url: str, *, stdin: bool, terminal: bool) -> int:
    """Carry this program's streams until the command has ended, and return its exit code.

    Raises Internal with what the server says when the command could not be run.
    """
    with raw_terminal() if terminal else contextlib.nullcontext():
        async with connect_stream(url, PROTOCOLS) as client:
            return await converse(client, stdin=stdin, terminal=terminal)


async def converse(client: StreamClient, *, stdin: bool, terminal: bool) -> int:
    """Copy input, sizes and output at once; the exit code."""
    try:
        async with asyncio.TaskGroup() as group:
            supporting = [
                *([group.create_task(_send_input(client))] if stdin else []),
                *([group.create_task(_send_sizes(client))] if terminal else []),
            ]
            status = await _receive(client)
            for task in supporting:
                task.cancel()
    except ExceptionGroup as failures:
        cause = first_cause(failures)
        if isinstance(cause, BrokenPipeError):
            return BROKEN_PIPE_CODE
        raise cause from None
    return exit_code(status)


def exit_code(status: bytes) -> int:
    """What the error channel says: a Kubernetes Status. Raises Internal with its message, Unavailable without one."""
    if not status:
        raise Unavailable("the connection ended before the command did")
    try:
        told: dict[str, Any] = json.loads(status)
        if told.get("status") == "Success":
            return 0
        causes = (told.get("details") or {}).get("causes") or []
        code = next((cause["message"] for cause in causes if cause.get("reason") == "ExitCode"), None)
        if code is not None:
            return int(code)
        message = str(told.get("message", ""))
    except (ValueError, KeyError, AttributeError, TypeError):
        message = status.decode(errors="replace")
    raise Internal(message)


async def _send_input(client: StreamClient) -> None:
    async for block in standard_input():
        await client.send(bytes((STDIN,)) + block)
    if client.protocol == V5.name:
        await client.send(END_OF_STDIN)


async def _send_sizes(client: StreamClient) -> None:
    async for size in sizes():
        await client.send(bytes((RESIZE,)) + size)


async def _receive(client: StreamClient) -> bytes:
    """Write output where it belongs; the status at the end."""
    reader = ChannelReader(Coding.RAW, closes=False)
    status = b""
    async for piece in client.pieces():
        for event in reader.feed(piece):
            if not isinstance(event, ChannelBlock):
                continue
            if event.channel == CHANNELS["error"]:
                status += event.block
            elif event.channel in _DESCRIPTORS:
                _write(_DESCRIPTORS[event.channel], event.block)
    return status


def _write(descriptor: int, block: bytes) -> None:
    """Blocking: while our own output is not read, nothing else is to be done either."""
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]
