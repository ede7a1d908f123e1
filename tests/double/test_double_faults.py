"""What tests can ask the double for: faults, hangs, lost answers, scripts, the call log."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import grpc
import pytest

from api.containerd import SPEC_TYPE_URL, Client, Container, ProcessStatus, TypedValue, errors
from api.wire.containerd import event_types_pb2
from tests.double import STUBBORN, ContainerdDouble, Script


async def make_container(client: Client, container_id: str, args: list[str] | None = None) -> None:
    spec = TypedValue.json(SPEC_TYPE_URL, {"process": {"args": args or ["/bin/app"]}})
    await client.containers.create(Container(container_id, runtime="io.containerd.runc.v2", spec=spec))


async def test_fail_refuses_as_often_as_asked_and_has_no_effect(
    client: Client, containerd: ContainerdDouble
) -> None:
    containerd.fail("Leases.Create", grpc.StatusCode.RESOURCE_EXHAUSTED, "full", times=2, skip=1)
    await client.leases.create("first")
    for _ in range(2):
        with pytest.raises(errors.ResourceExhausted, match="full"):
            await client.leases.create("second")
    await client.leases.create("second")
    assert containerd.leftovers().leases == ("first", "second")


async def test_a_lost_answer_has_had_its_effect(client: Client, containerd: ContainerdDouble) -> None:
    containerd.lose_answer("Leases.*")
    with pytest.raises(errors.Unavailable):
        await client.leases.create("made")
    assert containerd.leftovers().leases == ("made",)


async def test_hang_holds_calls_until_released(client: Client, containerd: ContainerdDouble) -> None:
    hang = containerd.hang("Leases.Create")
    async with asyncio.TaskGroup() as group:
        creation = group.create_task(client.leases.create("held"))
        await hang.reached.wait()
        assert not containerd.leftovers(), "the call is held before it has any effect"
        hang.release()
    assert creation.result().id == "held"


async def test_the_log_tells_calls_with_requests_and_leases(
    client: Client, containerd: ContainerdDouble
) -> None:
    async with client.leases.hold(id="l") as held:
        await held.snapshots("overlayfs").prepare("s")
    assert containerd.methods() == ["Leases.Create", "Snapshots.Prepare", "Leases.Delete"]
    prepare = containerd.calls[1]
    assert (prepare.namespace, prepare.lease) == ("k8s.io", "l")


async def test_stop_and_start_keep_everything(client: Client, containerd: ContainerdDouble) -> None:
    await make_container(client, "c")
    await client.tasks.create("c", mounts=[])
    await client.tasks.start("c")
    await containerd.stop()
    with pytest.raises(errors.Unavailable):
        await client.tasks.get("c")
    await containerd.start()
    async with asyncio.timeout(5):
        while True:
            try:
                assert (await client.tasks.get("c")).status is ProcessStatus.RUNNING
                break
            except errors.Unavailable:
                await asyncio.sleep(0.01)


async def test_a_stubborn_process_takes_only_sigkill(client: Client, containerd: ContainerdDouble) -> None:
    await make_container(client, "c")
    containerd.script("c", STUBBORN)
    await client.tasks.create("c", mounts=[])
    await client.tasks.start("c")
    await client.tasks.kill("c", signal.SIGTERM)
    assert (await client.tasks.get("c")).status is ProcessStatus.RUNNING
    await client.tasks.kill("c", signal.SIGKILL)
    assert (await client.tasks.wait("c")).status == 137
    assert containerd.process("c").signals == [signal.SIGTERM, signal.SIGKILL]


async def test_a_process_may_handle_a_signal_with_a_code_of_its_own(
    client: Client, containerd: ContainerdDouble
) -> None:
    await make_container(client, "c")
    containerd.script("*", Script(exit_codes={signal.SIGTERM: 3}))
    await client.tasks.create("c", mounts=[])
    await client.tasks.start("c")
    await client.tasks.kill("c", signal.SIGTERM)
    assert (await client.tasks.wait("c")).status == 3


async def test_output_that_a_child_holds_open_ends_later(
    client: Client, containerd: ContainerdDouble, tmp_path: Path
) -> None:
    paths = [str(tmp_path / name) for name in ("o", "e")]
    for path in paths:
        os.mkfifo(path)
    readers = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in paths]
    try:
        await make_container(client, "c")
        containerd.script("c", Script(stdout=b"out", stderr=b"err", exit_code=0, keeps_output_open=True))
        await client.tasks.create("c", mounts=[], stdout=paths[0], stderr=paths[1])
        await client.tasks.start("c")
        await client.tasks.wait("c")
        assert [os.read(fd, 100) for fd in readers] == [b"out", b"err"]
        with pytest.raises(BlockingIOError):
            os.read(readers[0], 1)
        containerd.process("c").close_output()
        assert os.read(readers[0], 1) == b""
    finally:
        for fd in readers:
            os.close(fd)


async def test_out_of_memory_is_told_before_the_exit(client: Client, containerd: ContainerdDouble) -> None:
    await make_container(client, "c")
    await client.tasks.create("c", mounts=[])
    await client.tasks.start("c")
    async with client.events.subscribe('topic~="/tasks/"') as subscription:
        containerd.out_of_memory("c")
        oom, end = await anext(subscription), await anext(subscription)
    assert oom.topic == "/tasks/oom"
    assert isinstance(end.message, event_types_pb2.TaskExit)
    assert end.message.exit_status == 137


async def test_runc_may_refuse(client: Client, containerd: ContainerdDouble) -> None:
    containerd.script("c", Script(create_error="no such file"))
    await make_container(client, "c")
    with pytest.raises(errors.Unknown, match="OCI runtime create failed: no such file"):
        await client.tasks.create("c", mounts=[])
    assert containerd.leftovers().tasks == ()
