"""GetContainerEvents on real containers: the whole life of a pod, many watchers, one that never reads, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import grpc
import pytest

from api.wire import criv1
from e2e.harness.cri import connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.cri import Cri
    from e2e.harness.node import Node
    from e2e.harness.workload import Workloads

pytestmark = pytest.mark.cri_shim_only

CREATED, STARTED, STOPPED, DELETED = (
    criv1.CONTAINER_CREATED_EVENT,
    criv1.CONTAINER_STARTED_EVENT,
    criv1.CONTAINER_STOPPED_EVENT,
    criv1.CONTAINER_DELETED_EVENT,
)
WATCHERS = 1000


@contextlib.asynccontextmanager
async def watching(cri: Cri) -> AsyncIterator[Events]:
    """A stream of events that has begun."""
    call = cri.runtime.GetContainerEvents(criv1.GetEventsRequest())
    await call.wait_for_connection()
    try:
        yield Events(call)
    finally:
        call.cancel()


class Events:
    """What a stream brings, about some objects only: kept events may be about earlier pods."""

    def __init__(self, call: grpc.aio.UnaryStreamCall) -> None:
        self._call = call

    async def about(self, pod: str, count: int) -> list[criv1.ContainerEventResponse]:
        """The next events of one pod."""
        found = []
        async with asyncio.timeout(20):
            async for event in self._call:
                if event.pod_sandbox_status.id == pod:
                    found.append(event)
                if len(found) == count:
                    break
        return found


async def test_the_whole_life_of_a_pod(cri: Cri, workloads: Workloads) -> None:
    async with watching(cri) as events:
        before = time.time_ns()
        pod = await workloads.pod()
        container = await pod.run(command=["sh", "-c", "exit 7"])
        await container.exited()
        await container.remove()
        await workloads.remove([pod])
        told = await events.about(pod.id, 8)
    assert [(event.container_event_type, event.container_id) for event in told] == [
        (CREATED, pod.id),
        (STARTED, pod.id),
        (CREATED, container.id),
        (STARTED, container.id),
        (STOPPED, container.id),
        (DELETED, container.id),
        (STOPPED, pod.id),
        (DELETED, pod.id),
    ]
    stopped = told[4].containers_statuses[0]
    assert (stopped.state, stopped.exit_code) == (criv1.CONTAINER_EXITED, 7)
    assert before < told[0].created_at < told[-1].created_at < time.time_ns()
    assert told[1].pod_sandbox_status.network.ip
    assert not told[6].pod_sandbox_status.network.ip, "a stopped pod has no address"


async def test_the_status_is_the_view_that_events_carry(cri: Cri, workloads: Workloads) -> None:
    pod = await workloads.pod()
    container = await pod.sleeper()
    answer = await cri.runtime.PodSandboxStatus(criv1.PodSandboxStatusRequest(pod_sandbox_id=pod.id))
    assert [status.id for status in answer.containers_statuses] == [container.id]
    assert answer.containers_statuses[0].state == criv1.CONTAINER_RUNNING
    assert abs(time.time_ns() - answer.timestamp) < 5e9


async def test_many_watchers_and_one_that_never_reads(node: Node, workloads: Workloads) -> None:
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(connected(node.server.endpoint))
        await stack.enter_async_context(watching(client))  # nobody reads this one
        watchers = await asyncio.gather(
            *(stack.enter_async_context(watching(client)) for _ in range(WATCHERS))
        )
        began = time.monotonic()
        pod = await workloads.pod()
        took = time.monotonic() - began
        each = await asyncio.gather(*(watcher.about(pod.id, 2) for watcher in watchers))
    assert {tuple(event.container_event_type for event in told) for told in each} == {(CREATED, STARTED)}
    assert took < 5, f"RunPodSandbox took {took:.1f} s with {WATCHERS} watchers"


async def test_a_watcher_that_comes_back_misses_nothing(cri: Cri, workloads: Workloads) -> None:
    async with watching(cri) as events:
        pod = await workloads.pod()
        await events.about(pod.id, 2)
    container = await pod.sleeper()
    async with watching(cri) as events:
        told = await events.about(pod.id, 2)
        while told[-1].container_event_type != STARTED or told[-1].container_id != container.id:
            told += await events.about(pod.id, 1)
    assert (CREATED, container.id) in [(event.container_event_type, event.container_id) for event in told]


async def test_what_ends_while_the_server_is_away_is_told_after(
    node: Node, cri: Cri, workloads: Workloads
) -> None:
    pod = await workloads.pod()
    container = await pod.run(command=["sh", "-c", "sleep 1; exit 5"])
    await node.server.kill()
    await asyncio.sleep(2)
    await node.server.start()
    async with watching(cri) as events:
        (event,) = await events.about(pod.id, 1)
    assert (event.container_event_type, event.container_id) == (STOPPED, container.id)
    assert event.containers_statuses[0].exit_code == 5


async def test_a_stopping_server_ends_the_streams(node: Node, cri: Cri) -> None:
    call = cri.runtime.GetContainerEvents(criv1.GetEventsRequest())
    await call.wait_for_connection()
    began = time.monotonic()
    await node.server.stop()
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        async for _ in call:
            pass
    await node.server.start()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - began < 8, "a stream must not hold the stop up"
