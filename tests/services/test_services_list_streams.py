"""Lists as streams and the stream of events, over a real socket on the containerd double."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cri import CriClient
from api.wire import criv1
from cri.services import streaming_rpc
from cri.services.streaming_rpc import MOST_BYTES, MOST_ITEMS, pieces
from tests.double.containerd import until
from tests.node import DoubleNode

PODS = 7


@given(st.lists(st.integers(0, MOST_BYTES * 2), max_size=50))
def test_pieces_hold_every_item_once_and_are_bounded(sizes: list[int]):
    cut = list(pieces(sizes, lambda size: size))
    assert [item for piece in cut for item in piece] == sizes
    assert all(cut), "no piece is empty"
    for piece in cut:
        assert sum(piece[:-1]) < MOST_BYTES, "a piece ends with the item that fills it"


def test_pieces_are_bounded_in_number():
    assert [len(piece) for piece in pieces([1] * (MOST_ITEMS + 1), lambda _: 1)] == [MOST_ITEMS, 1]


async def test_lists_come_in_pieces(cri: CriClient, node: DoubleNode, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streaming_rpc, "MOST_ITEMS", 3)
    pods = [await node.sandboxes.run(node.pod_config(f"web-{number}"), "") for number in range(PODS)]
    made = [await node.containers.create(pod, node.container_config()) for pod in pods]
    sandboxes = [answer async for answer in cri.runtime.StreamPodSandboxes(criv1.StreamPodSandboxesRequest())]
    assert [len(answer.pod_sandboxes) for answer in sandboxes] == [3, 3, 1]
    assert [each.id for answer in sandboxes for each in answer.pod_sandboxes] == pods
    containers = [answer async for answer in cri.runtime.StreamContainers(criv1.StreamContainersRequest())]
    assert [each.id for answer in containers for each in answer.containers] == made
    wanted = criv1.ContainerFilter(pod_sandbox_id=pods[2])
    one = cri.runtime.StreamContainers(criv1.StreamContainersRequest(filter=wanted))
    assert [each.id async for answer in one for each in answer.containers] == [made[2]]
    metrics = cri.runtime.StreamPodSandboxMetrics(criv1.StreamPodSandboxMetricsRequest())
    answers = [answer async for answer in metrics]
    assert [each.pod_sandbox_id for answer in answers for each in answer.pod_sandbox_metrics] == pods


async def test_images_are_streamed_as_they_are_listed(cri: CriClient):
    listed = await cri.image.ListImages(criv1.ListImagesRequest())
    stream = cri.image.StreamImages(criv1.StreamImagesRequest())
    assert [each async for answer in stream for each in answer.images] == list(listed.images)


@pytest.mark.parametrize("method", ["StreamContainers", "StreamPodSandboxes", "GetContainerEvents"])
async def test_streams_are_refused_until_the_pods_are_known(cri: CriClient, node: DoubleNode, method: str):
    node.observer.recovered.clear()
    request = criv1.GetEventsRequest() if "Events" in method else getattr(criv1, f"{method}Request")()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in getattr(cri.runtime, method)(request):
            pass
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    node.observer.recovered.set()


async def test_a_watcher_is_told_when_its_stream_is_open(cri: CriClient, node: DoubleNode):
    call = cri.runtime.GetContainerEvents(criv1.GetEventsRequest())
    await asyncio.wait_for(call.wait_for_connection(), 10)
    pod = await node.sandboxes.run(node.pod_config(), "")
    events = [await call.read(), await call.read()]
    assert [(event.container_id, event.container_event_type) for event in events] == [
        (pod, criv1.CONTAINER_CREATED_EVENT),
        (pod, criv1.CONTAINER_STARTED_EVENT),
    ]
    call.cancel()


async def test_a_client_that_leaves_is_no_watcher_any_more(cri: CriClient, node: DoubleNode):
    call = cri.runtime.GetContainerEvents(criv1.GetEventsRequest())
    await call.wait_for_connection()
    assert len(node.on.events._watchers) == 1
    call.cancel()
    await until(lambda: not node.on.events._watchers, 10)


async def test_the_status_carries_the_pod_as_one_view(cri: CriClient, node: DoubleNode):
    pod, container = await node.running()
    answer = await cri.runtime.PodSandboxStatus(criv1.PodSandboxStatusRequest(pod_sandbox_id=pod))
    assert [status.id for status in answer.containers_statuses] == [container]
    assert answer.timestamp > answer.containers_statuses[0].started_at > 0


async def test_the_newest_attempt_comes_first(cri: CriClient, node: DoubleNode):
    """kubelet's evented PLEG takes the first status of a name for the container's present one."""
    pod, first = await node.running()
    await node.containers.stop(first, 0)
    config = node.container_config()
    config.metadata.attempt = 1
    second = await node.containers.create(pod, config)
    answer = await cri.runtime.PodSandboxStatus(criv1.PodSandboxStatusRequest(pod_sandbox_id=pod))
    assert [status.id for status in answer.containers_statuses] == [second, first]
