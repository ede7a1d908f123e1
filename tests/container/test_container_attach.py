"""Attached containers on the containerd double; live output is scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cri.container.attach import AttachedContainer, attach
from cri.errors import FailedPrecondition, NotFound, Unavailable
from cri.state.container import Container
from cri.stream.endpoints import OutputName, Streams, TerminalSize
from tests.double.containerd import until
from tests.node import DoubleNode

ALL = Streams(stdin=True, stdout=True, stderr=True)


class FakeSubscription:
    """Gives out what it was made with, then ends or fails."""

    def __init__(self, *items: tuple[OutputName, bytes], error: Exception | None = None) -> None:
        self.items = items
        self.error = error
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[tuple[OutputName, bytes]]:
        items, self.items = self.items, ()
        for item in items:
            yield item
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        self.closed = True


def deliver(node: DoubleNode, *subscriptions: FakeSubscription | Exception) -> None:
    waiting = list(subscriptions)

    async def subscribe(_container_id: str) -> FakeSubscription:
        following = waiting.pop(0)
        if isinstance(following, Exception):
            raise following
        return following

    node.keeper.subscribe = subscribe


async def running(node: DoubleNode, **settings: object) -> Container:
    _, identifier = await node.running(**settings)
    return node.containers.get(identifier)


async def collected(attached: AttachedContainer) -> list[tuple[OutputName, bytes]]:
    return [item async for item in attached.output()]


async def test_output_ends_with_the_container(node: DoubleNode):
    container = await running(node)
    subscription = FakeSubscription(("stdout", b"a"), ("stderr", b"b"))
    deliver(node, subscription)
    async with attach(node.pods.engine, container, ALL) as attached, asyncio.TaskGroup() as group:
        reading = group.create_task(collected(attached))
        await asyncio.sleep(0.05)
        assert not reading.done(), "the end of output is not the end of the container"
        node.containerd.process(container.id).exit(0)
    assert reading.result() == [("stdout", b"a"), ("stderr", b"b")]
    assert subscription.closed


async def test_a_new_log_keeper_is_asked_for_the_rest(node: DoubleNode):
    container = await running(node)
    died = Unavailable("the log keeper went away")
    deliver(node, FakeSubscription(("stdout", b"a"), error=died), died, FakeSubscription(("stdout", b"b")))
    async with attach(node.pods.engine, container, ALL) as attached, asyncio.TaskGroup() as group:
        reading = group.create_task(collected(attached))
        await asyncio.sleep(0.5)
        node.containerd.process(container.id).exit(0)
    assert reading.result() == [("stdout", b"a"), ("stdout", b"b")]


async def test_a_container_that_is_not_followed_any_more_has_ended(node: DoubleNode):
    container = await running(node)
    deliver(node, FakeSubscription(error=Unavailable("gone")), NotFound("not followed"))
    async with attach(node.pods.engine, container, ALL) as attached, asyncio.TaskGroup() as group:
        group.create_task(collected(attached))
        await asyncio.sleep(0.2)
        node.containerd.process(container.id).exit(0)


@pytest.mark.parametrize(
    ("settings", "stays", "closed"),
    [
        ({"stdin": True, "stdin_once": True}, True, True),
        ({"stdin": True}, False, False),
        ({"stdin": True, "stdin_once": True, "tty": True}, False, False),
        ({}, True, False),
    ],
)
async def test_the_end_of_input(node: DoubleNode, settings: dict[str, object], stays: bool, closed: bool):
    container = await running(node, **settings)
    deliver(node, FakeSubscription())
    node.containerd.calls.clear()
    async with attach(node.pods.engine, container, ALL) as attached:
        assert await attached.end_stdin() is stays
    assert ("Tasks.CloseIO" in node.containerd.methods()) is closed


async def test_several_write_into_the_same_stdin(node: DoubleNode):
    container = await running(node, command=["cat"], stdin=True)
    deliver(node, FakeSubscription(), FakeSubscription())
    async with (
        attach(node.pods.engine, container, ALL) as first,
        attach(node.pods.engine, container, ALL) as second,
    ):
        await first.write_stdin(b"one ")
        process = node.containerd.process(container.id)
        await until(lambda: bytes(process.received) == b"one ")
        await first.end_stdin()
        await second.write_stdin(b"two")
        await until(lambda: bytes(process.received) == b"one two")


async def test_a_container_without_stdin_takes_no_input(node: DoubleNode):
    container = await running(node)
    deliver(node, FakeSubscription())
    async with attach(node.pods.engine, container, ALL) as attached:
        with pytest.raises(BrokenPipeError):
            await attached.write_stdin(b"x")


async def test_only_terminals_are_resized(node: DoubleNode):
    plain, terminal = await running(node), await _second(node, tty=True)
    for container, expected in ((plain, None), (terminal, (80, 24))):
        deliver(node, FakeSubscription())
        async with attach(node.pods.engine, container, ALL) as attached:
            await attached.resize(TerminalSize(80, 24))
        assert node.containerd.process(container.id).size == expected


async def _second(node: DoubleNode, **settings: object) -> Container:
    pod = await node.sandboxes.run(node.pod_config("other"), "")
    identifier = await node.containers.create(pod, node.container_config("other", **settings))
    await node.containers.start(identifier)
    return node.containers.get(identifier)


async def test_nobody_attaches_to_what_does_not_run(node: DoubleNode):
    container = await running(node)
    await node.containers.stop(container.id, 0)
    with pytest.raises(FailedPrecondition, match="nobody can attach"):
        async with attach(node.pods.engine, container, ALL):
            pass
