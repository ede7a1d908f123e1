"""Leases held over a block."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

import pytest

from api.containerd import Client, LeaseResource, errors
from api.containerd.leases import EXPIRE_LABEL
from tests.double import until

if TYPE_CHECKING:
    from tests.double import ContainerdDouble


async def test_hold_ends_with_its_block(client: Client, containerd: ContainerdDouble) -> None:
    async with client.leases.hold(labels={"for": "test"}, expires_in=600) as held:
        await held.content.put("r", b"data")
        (lease,) = await client.leases.list()
        assert lease.labels["for"] == "test"
        left = dt.datetime.fromisoformat(lease.labels[EXPIRE_LABEL]) - dt.datetime.now(dt.UTC)
        assert 590 < left.total_seconds() <= 600
        assert [resource.type for resource in await client.leases.resources(lease.id)] == ["content"]
    assert not containerd.leftovers().leases


async def test_hold_without_expiry_and_with_an_id(client: Client) -> None:
    async with client.leases.hold(id="mine", expires_in=None):
        (lease,) = await client.leases.list()
        assert (lease.id, dict(lease.labels)) == ("mine", {})
        with pytest.raises(errors.AlreadyExists):
            async with client.leases.hold(id="mine"):
                pass
        assert [lease.id for lease in await client.leases.list()] == ["mine"], "another's lease is left alone"


async def test_an_error_in_the_block_comes_through(client: Client, containerd: ContainerdDouble) -> None:
    with pytest.raises(KeyError, match="boom"):
        async with client.leases.hold():
            raise KeyError("boom")
    assert not containerd.leftovers()


async def test_a_cancelled_block_lets_go(client: Client, containerd: ContainerdDouble) -> None:
    deletion = containerd.hang("Leases.Delete")
    async with asyncio.TaskGroup() as group:
        holder = group.create_task(_hold_for_ever(client))
        await until(lambda: bool(containerd.leftovers().leases))
        holder.cancel()
        await deletion.reached.wait()
        holder.cancel()  # impatience does not cut the clean-up short
        await asyncio.sleep(0.01)
        assert not holder.done()
        deletion.release()
    assert holder.cancelled()
    assert not containerd.leftovers()


async def test_a_cancelled_creation_leaves_no_lease(client: Client, containerd: ContainerdDouble) -> None:
    creation = containerd.hang("Leases.Create")
    async with asyncio.TaskGroup() as group:
        holder = group.create_task(_hold_for_ever(client))
        await creation.reached.wait()
        holder.cancel()
        creation.release()
    assert not containerd.leftovers()
    assert "Leases.Delete" in containerd.methods(), "it might have been made before the cancellation arrived"


async def test_a_daemon_that_goes_away_does_not_hide_the_outcome(
    client: Client, containerd: ContainerdDouble
) -> None:
    async with client.leases.hold():
        await containerd.stop()
    assert containerd.leftovers().leases, "it stays until it expires"


async def test_a_lost_answer_to_the_creation_is_an_error_that_leaves_no_lease(
    client: Client, containerd: ContainerdDouble
) -> None:
    containerd.lose_answer("Leases.Create")
    with pytest.raises(errors.Unavailable):
        async with client.leases.hold():
            pass
    assert not containerd.leftovers()


async def test_resources(client: Client) -> None:
    await client.leases.create("l")
    one, two = LeaseResource("ingests", "r"), LeaseResource("snapshots/overlayfs", "s")
    await client.leases.add("l", one)
    await client.leases.add("l", two)
    assert await client.leases.resources("l") == [one, two]
    await client.leases.remove("l", one)
    assert await client.leases.resources("l") == [two]


async def _hold_for_ever(client: Client) -> None:
    async with client.leases.hold():
        await asyncio.sleep(60)
