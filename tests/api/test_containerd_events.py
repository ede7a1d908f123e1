"""Subscriptions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from api.containerd import Client, Container, Descriptor, Image, Subscription, TypedValue, errors, typed
from api.wire.containerd import event_types_pb2, images_pb2
from tests.double import until

if TYPE_CHECKING:
    from tests.double import ContainerdDouble

SPEC = TypedValue("s", b"{}")
EXIT = event_types_pb2.TaskExit(container_id="c", id="c", exit_status=3)


async def test_nothing_is_missed_once_a_subscription_is_ready(client: Client) -> None:
    for number in range(20):
        async with client.events.subscribe() as subscription:
            await client.events.publish("/tasks/exit", typed(EXIT))
            async with asyncio.timeout(5):
                event = await anext(subscription)
            assert (event.topic, event.namespace, event.message) == ("/tasks/exit", "k8s.io", EXIT), number
            assert event.timestamp > 10**18


async def test_what_comes_while_getting_ready_is_kept_in_order(
    client: Client, containerd: ContainerdDouble
) -> None:
    marking = containerd.hang("Events.Publish")
    subscription = client.events.subscribe('topic~="/containers/"')
    async with asyncio.TaskGroup() as group:
        group.create_task(subscription.ready())
        await marking.reached.wait()
        for name in ("a", "b"):
            await client.containers.create(Container(name, runtime="r", spec=SPEC))
        marking.release()
    await client.containers.delete("a")
    seen = []
    async for event in subscription:
        seen.append((event.topic, event.message.id))  # type: ignore[union-attr]
        if len(seen) == 3:
            break
    await subscription.aclose()
    assert seen == [("/containers/create", "a"), ("/containers/create", "b"), ("/containers/delete", "a")]


async def test_filters_hold_and_markers_of_others_are_not_seen(client: Client) -> None:
    async with client.events.subscribe('namespace=="k8s.io",topic~="/images/"') as subscription:
        async with client.events.subscribe(), client.events.subscribe('topic=="/x"'):
            await client.containers.create(Container("c", runtime="r", spec=SPEC))
            await client.images.create(Image("i", Descriptor("m/t", "sha256:" + "0" * 64, 1), {"l": "1"}))
        event = await anext(subscription)
        assert event.message == images_pb2.ImageCreate(name="i", labels={"l": "1"})


async def test_unknown_and_damaged_events_come_raw(client: Client) -> None:
    async with client.events.subscribe('topic=="/x/y"') as subscription:
        unknown = TypedValue("some.Message", b"\x01")
        damaged = TypedValue("containerd.events.TaskExit", b"\xff\xff")
        for value in (unknown, damaged):
            await client.events.publish("/x/y", value)
        assert [(await anext(subscription)).message for _ in range(2)] == [unknown, damaged]


async def test_iteration_needs_no_readiness(client: Client, containerd: ContainerdDouble) -> None:
    subscription = client.events.subscribe()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_next(subscription))
        await until(lambda: "Events.Subscribe" in containerd.methods())
        async with asyncio.timeout(5):
            while not waiting.done():
                await client.events.publish("/tasks/exit", typed(EXIT))
                await asyncio.sleep(0.005)
    assert waiting.result() == "/tasks/exit"
    await subscription.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_a_daemon_that_goes_away_ends_the_subscription(
    client: Client, containerd: ContainerdDouble
) -> None:
    async with client.events.subscribe() as subscription:
        await containerd.stop()
        with pytest.raises(errors.Unavailable):
            await anext(subscription)


async def test_a_daemon_that_is_away_is_told_plainly(client: Client, containerd: ContainerdDouble) -> None:
    await containerd.stop()
    with pytest.raises(errors.Unavailable):
        async with client.events.subscribe():
            pass


async def test_closing_ends_it_in_the_daemon_too(client: Client, containerd: ContainerdDouble) -> None:
    async with client.events.subscribe():
        assert containerd.exchange.subscribers == 1
    await until(lambda: containerd.exchange.subscribers == 0)


async def test_closing_ends_the_iteration_of_another_task(
    client: Client, containerd: ContainerdDouble
) -> None:
    subscription = client.events.subscribe()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_all(subscription))
        await until(lambda: containerd.exchange.subscribers == 1)
        await subscription.aclose()
    assert reading.result() == []


async def test_a_subscription_that_nobody_reads_ends_too(
    client: Client, containerd: ContainerdDouble
) -> None:
    subscription = client.events.subscribe()
    await until(lambda: containerd.exchange.subscribers == 1)
    await subscription.aclose()
    await until(lambda: containerd.exchange.subscribers == 0)


async def _next(subscription: Subscription) -> str:
    return (await anext(subscription)).topic


async def _all(subscription: Subscription) -> list[str]:
    return [event.topic async for event in subscription]
