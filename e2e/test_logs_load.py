"""Container output under load: nothing is lost while a container counts as fast as it can and everything else happens.

E2E_KILLS says how often the server is killed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from api.wire import criv1
from e2e.harness.configured import configured
from e2e.harness.eventually import eventually
from e2e.harness.patience import patiently

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Workloads

KILLS = int(os.environ.get("E2E_KILLS", "10"))
COUNTER = "i=0; while :; do i=$((i+1)); echo $i; done"
LONGEST_STALL_SECONDS = 1.5
STEP_BYTES = 2_000_000

pytestmark = pytest.mark.cri_shim_only


async def counting(workloads: Workloads) -> Container:
    """A container that counts from 1 at full speed."""
    container = await (await workloads.pod()).run(command=["sh", "-c", COUNTER])
    await grown(container.log_file, STEP_BYTES)
    return container


async def grown(file: Path, by: int) -> None:
    """Wait until a log is that long."""

    async def size() -> int:
        return file.stat().st_size if file.exists() else 0

    await eventually(size, lambda found: found >= by, f"{by} bytes in {file}")


async def end(container: Container) -> None:
    """Stop it and wait until all that it wrote is in the log."""
    await container.stop()
    await container.exited()
    await asyncio.sleep(0.2)


def assert_counts(*files: Path) -> None:
    """The files hold 1, 2, 3, … one after the other; a record at a time, because there are millions."""
    expected = itertools.count(1)
    for file in files:
        with file.open("rb") as opened:
            for line in opened:
                number = next(expected)
                assert line.endswith(b" stdout F %d\n" % number), f"{number} is not in {line!r} of {file}"
    assert next(expected) > 1000


async def stalls(file: Path) -> AsyncIterator[float]:
    """Seconds for which the log has not grown, looked at again and again."""
    size, since = -1, time.monotonic()
    while True:
        now = file.stat().st_size
        if now != size:
            size, since = now, time.monotonic()
        yield time.monotonic() - since
        await asyncio.sleep(0.02)


@pytest.mark.timeout(600)
async def test_kills_of_the_server_cost_no_byte_and_stall_nobody(node: Node, workloads: Workloads) -> None:
    container = await counting(workloads)
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        async for stall in stalls(container.log_file):
            longest = max(longest, stall)

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        for number in range(KILLS):
            await node.server.kill()
            await asyncio.sleep(0.05 * (number % 4))
            await node.server.start()
        watching.cancel()
    assert (await container.status()).state == criv1.CONTAINER_RUNNING
    await end(container)
    await asyncio.to_thread(assert_counts, container.log_file)
    assert longest < patiently(LONGEST_STALL_SECONDS), f"the log stood still for {longest:.2f} s"


async def test_rotation_at_full_speed_loses_and_doubles_nothing(workloads: Workloads) -> None:
    container = await counting(workloads)
    rotated = []
    for number in range(10):
        rotated.append(container.log_file.with_name(f"0.log.{number}"))
        container.log_file.rename(rotated[-1])
        await container.reopen_log()
        await grown(container.log_file, STEP_BYTES // 10)
    await end(container)
    await asyncio.to_thread(assert_counts, *rotated, container.log_file)


async def test_a_rate_limit_and_an_early_rotation_as_configured(node: Node, workloads: Workloads) -> None:
    async with configured(
        node, keys="container_log_rate_limit = 200000\ncontainer_log_rotate_size = 150000\n"
    ):
        container = await (await workloads.pod()).run(command=["sh", "-c", COUNTER])
        await asyncio.sleep(3)
        request = criv1.ContainerStatusRequest(container_id=container.id, verbose=True)
        answer = await node.cri.runtime.ContainerStatus(request)
        counters = json.loads(answer.info["log"])
        assert counters["suppressed_lines"] > 0
        assert counters["rotations"] > 0
        assert counters["lost_bytes"] == 0
        files = [*container.log_file.parent.glob("0.log*")]
        assert len(files) > 1
        assert any(b"the limit is 200000 bytes a second]" in file.read_bytes() for file in files)
        await container.stop()


async def test_floods_do_not_delay_answers(workloads: Workloads) -> None:
    """Generously: how fast they are on a machine that does nothing else is for the benchmark to say."""
    pod = await workloads.pod()
    quiet = await pod.sleeper("quiet")
    floods = [await pod.run(f"flood-{number}", command=["sh", "-c", COUNTER]) for number in range(2)]
    seconds = []
    for _ in range(200):
        began = time.monotonic()
        await quiet.status()
        seconds.append(time.monotonic() - began)
        await asyncio.sleep(0.005)
    for flood in floods:
        await flood.stop()
    slow = sorted(seconds)[-2]
    assert slow < patiently(0.2), f"99 % of the answers took up to {slow:.3f} s"
