"""Container output in the kubelet's log files."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc
import pytest

from api.wire import criv1
from e2e.harness.eventually import eventually
from e2e.harness.log_lines import joined, log_lines

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.workload import Container, Workloads


async def finished(workloads: Workloads, script: str, *, tty: bool = False) -> Container:
    """A container that has run a script to its end."""
    container = await (await workloads.pod()).run(command=["sh", "-c", script], tty=tty)
    await container.exited()
    return container


async def test_both_streams_are_recorded_line_by_line_with_the_time(workloads: Workloads) -> None:
    container = await finished(workloads, "echo out; echo err >&2; echo; echo 'spaces  kept '")
    records = await container.settled_log()
    assert joined(records, "stdout") == [b"out", b"", b"spaces  kept "]
    assert joined(records, "stderr") == [b"err"]
    for record in records:
        written = datetime.fromisoformat(record.time[:19]).replace(tzinfo=UTC)
        assert abs(datetime.now(UTC) - written) < timedelta(minutes=1), record
    assert records[0].time <= records[-1].time


async def test_a_long_line_is_split_into_partial_records(workloads: Workloads) -> None:
    container = await finished(workloads, "head -c 40000 /dev/zero | tr '\\0' x; echo; echo short")
    records = await container.settled_log()
    assert [(record.partial, len(record.content)) for record in records] == [
        (True, 16384),
        (True, 16384),
        (False, 7232),
        (False, 5),
    ]


async def test_a_last_line_without_an_end_is_recorded(workloads: Workloads) -> None:
    container = await finished(workloads, "printf 'no newline'")
    [record] = await container.settled_log()
    assert (record.partial, record.content) == (True, b"no newline")


async def test_bytes_that_are_no_text_are_recorded_as_they_are(workloads: Workloads) -> None:
    container = await finished(workloads, "printf '\\377\\376\\000x\\n'")
    [record] = await container.settled_log()
    assert record.content == b"\xff\xfe\0x"


async def test_a_terminal_is_one_stream(workloads: Workloads) -> None:
    container = await finished(workloads, "test -t 1 && echo terminal; echo err >&2", tty=True)
    records = await container.settled_log()
    assert {record.stream for record in records} == {"stdout"}
    assert [line.rstrip(b"\r") for line in joined(records, "stdout")] == [b"terminal", b"err"]


@pytest.mark.cri_shim_only
async def test_nothing_is_lost_of_much_output_at_once(workloads: Workloads) -> None:
    container = await finished(workloads, "seq 1 200000")
    assert joined(await container.settled_log(), "stdout") == [b"%d" % n for n in range(1, 200_001)]


@pytest.mark.cri_shim_only
async def test_many_writers_keep_their_lines_whole(workloads: Workloads) -> None:
    pod = await workloads.pod()
    script = "seq 1 20000 | sed 's/$/ abcdefghijklmnopqrstuvwxyz/'; seq 1 5000 >&2"
    containers = await asyncio.gather(
        *(pod.run(f"writer-{number}", command=["sh", "-c", script]) for number in range(4))
    )
    for container in containers:
        records = await container.settled_log()
        assert len(joined(records, "stdout")) == 20_000
        assert joined(records, "stderr") == [b"%d" % n for n in range(1, 5001)]


async def test_rotation_goes_on_in_a_new_file_without_a_loss(workloads: Workloads) -> None:
    script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.001; done"
    container = await (await workloads.pod()).run(command=["sh", "-c", script])
    file = container.log_file
    await eventually(lambda: size(file), lambda bytes_: bytes_ > 500, "some output")
    rotated = file.with_name("0.log.rotated")
    file.rename(rotated)
    request = criv1.ReopenContainerLogRequest(container_id=container.id)
    await container.cri.runtime.ReopenContainerLog(request)
    assert file.exists(), "the new file is there when the call returns"
    await eventually(lambda: size(file), lambda bytes_: bytes_ > 500, "output in the new file")
    await container.stop()
    numbers = [int(line) for part in (rotated, file) for line in joined(log_lines(part), "stdout")]
    assert numbers == list(range(1, len(numbers) + 1))


async def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def test_reopening_an_exited_containers_log_is_refused_and_makes_no_file(workloads: Workloads) -> None:
    container = await finished(workloads, "echo x")
    container.log_file.unlink()
    with pytest.raises(grpc.aio.AioRpcError):
        await container.cri.runtime.ReopenContainerLog(
            criv1.ReopenContainerLogRequest(container_id=container.id)
        )
    assert not container.log_file.exists()


async def test_a_restarted_container_appends(workloads: Workloads) -> None:
    pod = await workloads.pod()
    for _ in range(2):
        container = await pod.run(command=["echo", "again"])
        await container.settled_log()
        await container.remove()
    assert joined(log_lines(container.log_file), "stdout") == [b"again", b"again"]


async def test_without_a_log_path_nothing_is_written_and_the_container_runs(workloads: Workloads) -> None:
    pod = await workloads.pod()
    container = await pod.run(command=["seq", "1", "100000"], log_path="")
    assert (await container.exited()).exit_code == 0


async def test_a_log_that_cannot_be_written_does_not_stop_the_container(workloads: Workloads) -> None:
    container = await (await workloads.pod()).run(
        command=["sh", "-c", "read line < /dev/null; while :; do seq 1 1000; sleep 0.05; done"]
    )
    container.log_file.unlink()
    await asyncio.sleep(0.3)
    assert (await container.status()).state == criv1.CONTAINER_RUNNING
    await container.stop()
