"""Measurements of streams: exec output and input, port-forwarding both ways, and the round trip of a short exec.

The client is the same for both servers and as light as it can be: a thread with a blocking socket that sends frames
made beforehand and counts what comes. It heeds no windows, as Kubernetes' clients do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from api.wire import criv1
from cri.stream import spdy_frames as frames
from cri.stream.spdy_headers import HeaderCompressor
from e2e.bench import operation as op
from e2e.bench.contender import Contender
from e2e.bench.operation import Operation
from e2e.harness.eventually import eventually
from e2e.harness.workload import Container, Pod

DOWN_PORT, UP_PORT = 7001, 7002
FRAME_BYTES = 32 << 10
"""What Go's clients put into a frame."""
SEND_BYTES = 8 * FRAME_BYTES
BLOCK_BYTES = 1 << 20
DD_BLOCKS = "bs=64k iflag=fullblock"
"""The programs in the pod must not be what is measured: busybox's head reads and writes a kilobyte at a time."""
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A pod with something to execute in and to forward to."""

    pod: Pod
    container: Container


async def prepare(contender: Contender, megabytes: int) -> Stage:
    """Run the pod: one port sends for ever, the other answers when it has received what `throughput` sends."""
    pod = await contender.pod()
    count = _whole_sends(megabytes) * SEND_BYTES
    # Not to the end: not every server passes on the client's half-close.
    receive = f"dd of=/dev/null {DD_BLOCKS},count_bytes count={count} 2>&1"
    serve = f"nc -ll -p {DOWN_PORT} -e cat /dev/zero & exec nc -ll -p {UP_PORT} -e sh -c '{receive}'"
    container = await pod.run(command=["sh", "-c", serve])
    for port in (DOWN_PORT, UP_PORT):
        await eventually(
            lambda port=port: container.execute(
                "sh", "-c", f"nc -w 1 127.0.0.1 {port} < /dev/null | head -c 1"
            ),
            lambda answer: answer.exit_code == 0,
            f"port {port} answering",
        )
    return Stage(pod, container)


async def throughput(contender: Contender, stage: Stage, megabytes: int) -> None:
    """Carry so much in each of the four ways."""
    count = _whole_sends(megabytes) * SEND_BYTES
    produce = f"dd if=/dev/zero {DD_BLOCKS},count_bytes count={count} 2>/dev/null"
    out = await _exec(stage.container, ["sh", "-c", produce], stdin=False)
    await _measure(contender, op.EXEC_STDOUT, megabytes, lambda: exec_output(out, count))
    # The echo is for containerd's plugin, which resets a connection whose command closes an output that stayed empty.
    into = await _exec(stage.container, ["sh", "-c", "cat >/dev/null; echo"], stdin=True)
    await _measure(contender, op.EXEC_STDIN, megabytes, lambda: exec_input(into, count))
    down = await _forward(stage.pod)
    await _measure(contender, op.FORWARD_DOWN, megabytes, lambda: forward_down(down, count))
    up = await _forward(stage.pod)
    await _measure(contender, op.FORWARD_UP, megabytes, lambda: forward_up(up, count))


async def round_trip(contender: Contender, stage: Stage) -> None:
    """From the RPC to the exit code of a command that does nothing."""
    async with contender.timed(op.EXEC_ROUND_TRIP):
        url = await _exec(stage.container, ["true"], stdin=False)
        await asyncio.to_thread(exec_output, url, 0)


async def _measure(
    contender: Contender, operation: Operation, megabytes: int, work: Callable[[], None]
) -> None:
    spent = contender.processor_seconds()
    began = time.perf_counter()
    await asyncio.to_thread(work)
    seconds = time.perf_counter() - began
    spent = contender.processor_seconds() - spent
    contender.measurements.add(operation, contender.name, megabytes / seconds)
    contender.measurements.add(op.stream_cost(operation), contender.name, spent * 1000 / megabytes)


def _whole_sends(megabytes: int) -> int:
    return megabytes * 1_000_000 // SEND_BYTES


async def _exec(container: Container, command: list[str], *, stdin: bool) -> str:
    request = criv1.ExecRequest(container_id=container.id, cmd=command, stdin=stdin, stdout=True)
    return (await container.cri.runtime.Exec(request)).url


async def _forward(pod: Pod) -> str:
    return (await pod.cri.runtime.PortForward(criv1.PortForwardRequest(pod_sandbox_id=pod.id))).url


def exec_output(url: str, count: int) -> None:
    """Receive `count` bytes on stdout and the status."""
    with _streams(url, "v4.channel.k8s.io", [{"streamtype": kind} for kind in ("error", "stdout")]) as client:
        _receive(client, lambda totals: totals.get(3, 0) >= count and 1 in totals)


def exec_input(url: str, count: int) -> None:
    """Send `count` bytes to a command that reads to the end, and wait for its status."""
    kinds = ("error", "stdin", "stdout")
    with _streams(url, "v4.channel.k8s.io", [{"streamtype": kind} for kind in kinds]) as client:
        _send(client, 3, count)
        _receive(client, lambda totals: 1 in totals)


def forward_down(url: str, count: int) -> None:
    """Receive `count` bytes from a port that sends for ever."""
    with _pair(url, DOWN_PORT) as client:
        _receive(client, lambda totals: totals.get(3, 0) >= count)


def forward_up(url: str, count: int) -> None:
    """Send `count` bytes to a port that reads so many, and wait for its answer."""
    with _pair(url, UP_PORT) as client:
        _send(client, 3, count)
        _receive(client, lambda totals: totals.get(3, 0) > 0)


def _pair(url: str, port: int) -> contextlib.AbstractContextManager[socket.socket]:
    headers = {"port": str(port), "requestid": "0"}
    return _streams(
        url, "portforward.k8s.io", [{"streamtype": kind, **headers} for kind in ("error", "data")]
    )


@contextlib.contextmanager
def _streams(url: str, protocol: str, headers: list[dict[str, str]]) -> Iterator[socket.socket]:
    """A connection with streams 1, 3, … that the server has accepted."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), PATIENCE_SECONDS) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 0\r\nConnection: Upgrade\r\n"
            f"Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {protocol}\r\n\r\n".encode()
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += client.recv(1)
        assert b" 101 " in answer, answer
        compressor = HeaderCompressor()
        for number, each in enumerate(headers):
            frame = frames.SynStream(2 * number + 1, compressor.compress(each))
            client.sendall(frames.encode(frame))
            _accepted(client, frame.stream_id)
        yield client


def _accepted(client: socket.socket, stream_id: int) -> None:
    reader = frames.FrameReader()
    while True:
        for frame in reader.feed(client.recv(1)):
            if isinstance(frame, frames.SynReply) and frame.stream_id == stream_id:
                return


def _send(client: socket.socket, stream_id: int, count: int) -> None:
    frame = frames.data_header(stream_id, FRAME_BYTES) + bytes(FRAME_BYTES)
    several = frame * (SEND_BYTES // FRAME_BYTES)
    for _ in range(count // SEND_BYTES):
        client.sendall(several)
    client.sendall(frames.data_header(stream_id, 0, fin=True))


def _receive(client: socket.socket, enough: Callable[[dict[int, int]], bool]) -> None:
    """Count bytes by stream until it is enough; a stream that only ended counts as none."""
    reader = frames.FrameReader()
    totals: dict[int, int] = {}
    while not enough(totals):
        data = client.recv(BLOCK_BYTES)
        assert data, f"the server closed after {totals}"
        for frame in reader.feed(data):
            if isinstance(frame, frames.Data):
                totals[frame.stream_id] = totals.get(frame.stream_id, 0) + len(frame.block)
