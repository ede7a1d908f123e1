"""Events on the containerd double: what is told, when, with which view of the pod; slow, many, returning watchers."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest

from api.wire import criv1
from cri.errors import ResourceExhausted, Unavailable
from cri.sandbox import events as module
from cri.sandbox.events import ContainerEvents, Watcher
from tests.node import DoubleNode

CREATED, STARTED, STOPPED, DELETED = (
    criv1.CONTAINER_CREATED_EVENT,
    criv1.CONTAINER_STARTED_EVENT,
    criv1.CONTAINER_STOPPED_EVENT,
    criv1.CONTAINER_DELETED_EVENT,
)


@dataclass
class Counted:
    """Stands in for the metrics."""

    events: list[str] = field(default_factory=list)
    dropped: int = 0
    watchers: int = 0

    def event(self, kind: str) -> None:
        self.events.append(kind)

    def events_dropped(self, count: int) -> None:
        self.dropped += count

    def event_watchers(self, count: int) -> None:
        self.watchers = count


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def events(node: DoubleNode, counted: Counted) -> ContainerEvents:
    return ContainerEvents(node.pods.engine, counted)


async def received(watcher: Watcher, count: int) -> list[criv1.ContainerEventResponse]:
    """The next events, each of them taken in whole: a stream that breaks off is given the last one again."""
    found: list[criv1.ContainerEventResponse] = []
    async with asyncio.timeout(10), contextlib.aclosing(watcher.events()) as stream:
        while len(found) < count:
            found.append(await anext(stream))
            if len(found) == count:
                watcher.queue.popleft()
    return found


async def test_a_whole_life_is_told_in_order(node: DoubleNode, events: ContainerEvents):
    with events.watch() as watcher:
        pod, container = await node.running()
        await node.containers.stop(container, 0)
        await node.containers.remove(container)
        await node.sandboxes.stop(pod)
        await node.sandboxes.remove(pod)
        told = [(event.container_event_type, event.container_id) for event in await received(watcher, 8)]
    assert told == [
        (CREATED, pod),
        (STARTED, pod),
        (CREATED, container),
        (STARTED, container),
        (STOPPED, container),
        (DELETED, container),
        (STOPPED, pod),
        (DELETED, pod),
    ]


async def test_every_event_has_the_pod_as_it_was_then(node: DoubleNode, events: ContainerEvents):
    with events.watch() as watcher:
        pod, container = await node.running()
        await node.containers.stop(container, 0)
        await node.sandboxes.remove(pod)
        told = await received(watcher, 8)
    views = [
        (event.pod_sandbox_status.state, [status.state for status in event.containers_statuses])
        for event in told
    ]
    ready, not_ready = criv1.SANDBOX_READY, criv1.SANDBOX_NOTREADY
    assert views == [
        (ready, []),
        (ready, []),
        (ready, [criv1.CONTAINER_CREATED]),
        (ready, [criv1.CONTAINER_RUNNING]),
        (ready, [criv1.CONTAINER_EXITED]),
        (not_ready, [criv1.CONTAINER_EXITED]),
        (not_ready, []),
        (not_ready, []),
    ]
    assert all(event.pod_sandbox_status.id == pod for event in told)
    moments = [event.created_at for event in told]
    assert moments == sorted(moments)
    assert moments[0] > 10**18, "nanoseconds"


async def test_a_failed_start_is_told_as_a_stop(node: DoubleNode, events: ContainerEvents):
    pod = await node.sandboxes.run(node.pod_config(), "")
    container = await node.containers.create(pod, node.container_config())
    node.containerd.fail("Tasks.Create")
    with events.watch() as watcher:
        await received(watcher, 3)
        with pytest.raises(Exception, match="Create"):
            await node.containers.start(container)
        (event,) = await received(watcher, 1)
    assert (event.container_event_type, event.container_id) == (STOPPED, container)
    assert event.containers_statuses[0].reason == "StartError"


async def test_a_slow_watcher_holds_nobody_up_and_loses_the_oldest(
    node: DoubleNode, events: ContainerEvents, counted: Counted, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MOST_QUEUED", 3)
    with events.watch() as slow, events.watch() as quick:
        pod, container = await node.running()
        quickly = await received(quick, 3)
        await node.containers.remove(container)
        late = [event.container_event_type for event in await received(slow, 3)]
    assert late == [STARTED, STOPPED, DELETED], "the newest events are kept"
    assert len(quickly) == 3
    assert slow.dropped == counted.dropped - quick.dropped == 3
    await node.sandboxes.remove(pod)


async def test_a_thousand_watchers_each_get_every_event(
    node: DoubleNode, events: ContainerEvents, counted: Counted
):
    async def follow(watching: asyncio.Semaphore) -> list[str]:
        with events.watch() as watcher:
            watching.release()
            return [event.container_id for event in await received(watcher, 4)]

    watching = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(follow(watching)) for _ in range(1000)]
        for _ in watchers:
            await watching.acquire()
        assert counted.watchers == 1000
        pod, container = await node.running()
    assert {tuple(watcher.result()) for watcher in watchers} == {(pod, pod, container, container)}
    assert counted.watchers == 0


async def test_a_watcher_that_comes_back_gets_what_it_missed(node: DoubleNode, events: ContainerEvents):
    with events.watch() as watcher:
        pod = await node.sandboxes.run(node.pod_config(), "")
        await received(watcher, 1)
    container = await node.containers.create(pod, node.container_config())
    with events.watch() as again:
        told = [(event.container_event_type, event.container_id) for event in await received(again, 2)]
        with events.watch() as other:
            assert not other.queue, "who joins others begins with what comes"
    assert told[-1] == (CREATED, container)
    assert told[0] == (STARTED, pod), "what was queued but never read is kept too"


async def test_after_a_while_nothing_is_kept_or_even_made(
    node: DoubleNode, events: ContainerEvents, counted: Counted, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "GAP_SECONDS", -1)
    await node.running()
    with events.watch() as watcher:
        assert not watcher.queue
    assert counted.events == ["created", "started", "created", "started"], "but everything is counted"


async def test_watchers_are_bounded(events: ContainerEvents, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_WATCHERS", 1)
    with events.watch(), pytest.raises(ResourceExhausted, match="watch container events"), events.watch():
        pass


async def test_streams_end_when_the_server_stops(events: ContainerEvents):
    with events.watch() as watcher:
        events.close()
        with pytest.raises(Unavailable, match="stopping"):
            await received(watcher, 1)


async def test_the_loss_of_a_sandboxes_process_is_told_once(node: DoubleNode, events: ContainerEvents):
    pod = await node.sandboxes.run(node.pod_config(), "")
    with events.watch() as watcher:
        await received(watcher, 2)
        node.node.sandbox_ended(node.node.sandboxes.get(pod))
        await node.sandboxes.stop(pod)
        await node.sandboxes.remove(pod)
        told = [event.container_event_type for event in await received(watcher, 2)]
    assert told == [STOPPED, DELETED]


async def test_a_listener_that_fails_does_not_disturb_the_operation(node: DoubleNode):
    def fail(_change: object) -> None:
        raise RuntimeError("listener")

    node.node.changes.listen(fail)
    pod, _ = await node.running()
    await node.sandboxes.remove(pod)
