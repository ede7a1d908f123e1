"""More calls than the server can take: they wait or are refused, and those that end things get through."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence

import grpc
import grpc.aio
import pytest

from api.cri import CriClient
from api.wire import criv1
from cri.errors import ResourceExhausted
from cri.services.admission import PREFERRED, Admission
from tests.double.containerd import until
from tests.double.scripts import STUBBORN
from tests.node import DoubleNode

pytestmark = pytest.mark.timeout(300)

CLIENTS = 64
FLOOD = 10_000
PLACES = 512
PILED_UP = 1_500
GRACE_SECONDS = 1
PATIENCE_SECONDS = 120.0


@contextlib.asynccontextmanager
async def clients(socket: str) -> AsyncIterator[Sequence[CriClient]]:
    """So many connections: gRPC would share one among clients of a process."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(CriClient(socket)) for _ in range(CLIENTS)]


async def code_of(call: Awaitable[object]) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def test_ten_thousand_calls_at_once_are_all_answered(socket: str, node: DoubleNode):
    """None is dropped without a word, and a stop among them takes as long as its grace."""
    node.containerd.script("*", STUBBORN)
    _, container = await node.running()
    asked = criv1.ContainerStatusRequest(container_id=container)
    stopped = criv1.StopContainerRequest(container_id=container, timeout=GRACE_SECONDS)
    async with clients(socket) as connected, asyncio.TaskGroup() as group:
        runtimes = [client.runtime for client in connected]

        def ask(number: int) -> asyncio.Task[str]:
            call = runtimes[number % CLIENTS].ContainerStatus(asked, timeout=PATIENCE_SECONDS)
            return group.create_task(code_of(call))

        calls = [ask(number) for number in range(FLOOD // 2)]
        stop = group.create_task(code_of(runtimes[0].StopContainer(stopped, timeout=PATIENCE_SECONDS)))
        calls += [ask(number) for number in range(FLOOD // 2)]
        codes = Counter([await call for call in calls])
    assert stop.result() == "OK"
    assert set(codes) <= {"OK", "RESOURCE_EXHAUSTED"}, codes
    assert codes["OK"] > 0, codes


async def test_a_stop_gets_through_where_calls_pile_up(
    socket: str, node: DoubleNode, monkeypatch: pytest.MonkeyPatch
):
    """containerd makes no records any more; a thousand creations wait for it or are refused."""
    pod, container = await node.running()
    monkeypatch.setattr(node.on.admission, "_places", PLACES)
    making = node.containerd.hang("Containers.Create")
    async with clients(socket) as connected, asyncio.TaskGroup() as group:
        runtimes = [client.runtime for client in connected]
        requests = [
            criv1.CreateContainerRequest(
                pod_sandbox_id=pod,
                config=node.container_config(f"app{number}"),
                sandbox_config=node.pod_config(),
            )
            for number in range(PILED_UP)
        ]
        calls = [
            group.create_task(
                code_of(runtimes[number % CLIENTS].CreateContainer(request, timeout=PATIENCE_SECONDS))
            )
            for number, request in enumerate(requests)
        ]
        refused = PILED_UP - PLACES
        await until(lambda: sum(call.done() for call in calls) == refused, PATIENCE_SECONDS)
        assert {call.result() for call in calls if call.done()} == {"RESOURCE_EXHAUSTED"}
        assert await code_of(runtimes[1].ContainerStatus(criv1.ContainerStatusRequest())) == (
            "RESOURCE_EXHAUSTED"
        )
        status = await runtimes[2].Status(criv1.StatusRequest())
        assert status.status.conditions
        stopped = criv1.StopContainerRequest(container_id=container, timeout=GRACE_SECONDS)
        await runtimes[3].StopContainer(stopped, timeout=PATIENCE_SECONDS)
        making.release()
        node.containerd.heal()
        codes = Counter([await call for call in calls])
    assert codes == {"OK": PILED_UP - refused, "RESOURCE_EXHAUSTED": refused}
    await node.sandboxes.remove(pod)


def test_the_last_places_are_kept():
    admission = Admission(16)
    with contextlib.ExitStack() as taken:
        for _ in range(14):
            taken.enter_context(admission.place("CreateContainer"))
        with pytest.raises(ResourceExhausted, match="max_concurrent_rpcs"), admission.place("ListContainers"):
            pass
        for method in PREFERRED:
            taken.enter_context(admission.place(method))
    with admission.place("ListContainers"):
        pass
