"""Loop lag and the dump of tasks and threads."""

import asyncio
import io
import os
import signal
import time

import grpc.aio
import structlog

from cri.observe import stages
from cri.observe.loop_lag import watch_loop_lag
from cri.observe.task_dump import await_chain, dump, install


async def test_lag_is_the_time_the_loop_was_blocked():
    seen: asyncio.Queue[float] = asyncio.Queue()
    with structlog.testing.capture_logs():
        watcher = asyncio.get_running_loop().create_task(watch_loop_lag(seen.put_nowait, 0.01))
        await seen.get()
        time.sleep(0.1)  # noqa: ASYNC251 - blocking the loop is the point
        lag = await seen.get()
        watcher.cancel()
    assert lag >= 0.05, f"a block of 100 ms must show, got {lag}"


async def deepest(gate: asyncio.Event) -> None:
    await gate.wait()


async def middle(gate: asyncio.Event) -> None:
    await deepest(gate)


async def test_the_chain_of_awaits_reaches_the_innermost_frame():
    gate = asyncio.Event()
    task = asyncio.get_running_loop().create_task(middle(gate), name="probe")
    await asyncio.sleep(0)
    chain = await_chain(task)
    gate.set()
    await task
    assert "in middle: await deepest(gate)" in chain[0]
    assert "in deepest: await gate.wait()" in chain[1]
    assert "in Event.wait" in chain[-1], "the innermost frame is asyncio's own"
    assert await_chain(task) == [], "a finished task has no frames"


async def test_the_dump_names_operations_and_tasks():
    stream = io.StringIO()
    with stages.operation("RunPodSandbox", sandbox="default/web"), stages.stage("cni:bridge"):
        dump(stream)
    text = stream.getvalue()
    assert "RunPodSandbox sandbox=default/web for 0.0" in text
    assert "in cni:bridge" in text
    assert "test_the_dump_names_operations_and_tasks" in text


async def test_sigusr1_dumps_threads_and_tasks(tmp_path):
    path = tmp_path / "dump"
    with path.open("w") as stream:
        remove = install(asyncio.get_running_loop(), stream)
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            async with asyncio.timeout(5):
                while "tasks:" not in path.read_text():  # noqa: ASYNC110 - a file has no event
                    await asyncio.sleep(0.001)
        finally:
            remove()
    assert "Current thread" in path.read_text() or "Thread 0x" in path.read_text()


async def test_tasks_inside_grpc_are_dumped_too(tmp_path):
    server = grpc.aio.server()
    server.add_insecure_port(f"unix:{tmp_path}/s.sock")
    await server.start()
    stream = io.StringIO()
    await asyncio.sleep(0)
    dump(stream)
    await server.stop(None)
    assert "in _server_main_loop" in stream.getvalue(), stream.getvalue()


async def test_the_method_that_a_call_hangs_in_is_shown(tmp_path):
    """gRPC is compiled; between its coroutines and the method's own there is an object without frames."""
    reached, done = asyncio.Event(), asyncio.Event()

    async def hanging_method(request: bytes, _context: object) -> bytes:
        reached.set()
        await done.wait()
        return request

    server = grpc.aio.server()
    methods = {"Hang": grpc.unary_unary_rpc_method_handler(hanging_method)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Service", methods)])
    server.add_insecure_port(f"unix:{tmp_path}/s.sock")
    await server.start()
    stream = io.StringIO()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s.sock") as channel:
        call = channel.unary_unary("/test.Service/Hang")(b"x")
        await reached.wait()
        dump(stream)
        done.set()
        await call
    await server.stop(None)
    assert "hanging_method: await done.wait()" in stream.getvalue(), stream.getvalue()
