"""How calls are made: errors, deadlines, cancellation, reconnection, observation, leases."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from api.containerd import NO_DEADLINE, SPEC_TYPE_URL, Client, Container, TypedValue, errors
from api.containerd.errors import BY_CODE, ContainerdError, Locked, from_status

if TYPE_CHECKING:
    from tests.double import ContainerdDouble

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]

RECORD = Container("c", runtime="io.containerd.runc.v2", spec=TypedValue(SPEC_TYPE_URL, b"{}"))


@pytest.mark.parametrize("code", CODES)
def test_each_code_has_a_class(code: grpc.StatusCode) -> None:
    assert code in BY_CODE, f"{code} is not in the table"
    error = from_status(code, "why", service="Tasks", method="Start", address="/run/c.sock")
    assert type(error) is BY_CODE[code]
    assert isinstance(error, ContainerdError)
    assert (error.service, error.method, error.details) == ("Tasks", "Start", "why")
    assert "Tasks.Start" in str(error), "the message says which call"
    assert "why" in str(error), "the message says what the daemon said"


@pytest.mark.parametrize("code", [code for code in CODES if code is not grpc.StatusCode.CANCELLED])
async def test_each_code_arrives_as_its_class(
    code: grpc.StatusCode, client: Client, containerd: ContainerdDouble
) -> None:
    containerd.fail("Version.Version", code, "words")
    with pytest.raises(BY_CODE[code], match="words") as raised:
        await client.version.get()
    assert type(raised.value) is BY_CODE[code]


def test_a_locked_ref_is_not_a_daemon_that_is_away() -> None:
    locked = from_status(
        grpc.StatusCode.UNAVAILABLE, "ref x locked for 1s", service="Content", method="Write", address="/s"
    )
    assert type(locked) is Locked
    away = from_status(grpc.StatusCode.UNAVAILABLE, "gone", service="Content", method="Write", address="/s")
    assert type(away) is errors.Unavailable


async def test_a_daemon_that_is_away_is_named_by_its_socket() -> None:
    async with Client("/tmp/no-such-containerd.sock") as client:
        with pytest.raises(errors.Unavailable, match=r"/tmp/no-such-containerd\.sock"):
            await client.version.get()


async def test_the_address_may_be_a_url(containerd: ContainerdDouble) -> None:
    async with Client(f"unix://{containerd.address}") as client:
        assert client.address == containerd.address
        assert (await client.version.get()).version


async def test_a_daemon_that_comes_back_is_found_again(client: Client, containerd: ContainerdDouble) -> None:
    await client.version.get()
    for _ in range(3):
        await containerd.stop()
        with pytest.raises(errors.Unavailable):
            await client.version.get()
        await containerd.start()
        async with asyncio.timeout(3):
            while True:
                try:
                    await client.version.get()
                    break
                except errors.Unavailable:
                    await asyncio.sleep(0.02)


async def test_a_deadline_ends_a_call(client: Client, containerd: ContainerdDouble) -> None:
    hang = containerd.hang("Version.Version")
    with pytest.raises(errors.DeadlineExceeded, match=containerd.address):
        await client.version.get(timeout=0.05)
    async with asyncio.timeout(5):
        await hang.abandoned.wait()


async def test_the_client_has_a_default_deadline(containerd: ContainerdDouble) -> None:
    containerd.hang("Tasks.*")
    async with Client(containerd.address, timeout=0.05) as client:
        with pytest.raises(errors.DeadlineExceeded):
            await client.tasks.get("c")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.tasks.wait("c"), 0.2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.tasks.get("c", timeout=NO_DEADLINE), 0.2)


async def test_cancelling_the_caller_cancels_the_call(client: Client, containerd: ContainerdDouble) -> None:
    hang = containerd.hang("Leases.Create")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.leases.create("l")
    async with asyncio.timeout(5):
        await hang.abandoned.wait()
    assert not containerd.leftovers()


async def test_closing_the_client_is_no_cancellation_of_its_callers(containerd: ContainerdDouble) -> None:
    hang = containerd.hang("Leases.Create")
    client = Client(containerd.address)
    subscription = client.events.subscribe()
    async with asyncio.TaskGroup() as group:
        creation = group.create_task(_outcome(client.leases.create("l")))
        listening = group.create_task(_outcome(anext(subscription)))
        await hang.reached.wait()
        await client.close()
    assert isinstance(creation.result(), errors.Unavailable)
    assert isinstance(listening.result(), errors.Unavailable)
    with pytest.raises(errors.Unavailable, match="closed"):
        await client.version.get()
    with pytest.raises(errors.Unavailable, match="closed"):
        client.events.subscribe()
    with pytest.raises(errors.Unavailable, match="closed"):
        await client.content.put("r", b"x")


async def _outcome(call: object) -> object:
    try:
        return await call  # type: ignore[misc]
    except errors.ContainerdError as error:
        return error


async def test_each_finished_call_is_observed_once(containerd: ContainerdDouble) -> None:
    seen: list[tuple[str, str, str]] = []

    def observe(service: str, method: str, code: str, seconds: float) -> None:
        assert 0 <= seconds < 30
        seen.append((service, method, code))

    async with Client(containerd.address, observer=observe) as client:
        await client.version.get()
        with pytest.raises(errors.NotFound):
            await client.containers.get("c")
        await client.containers.list()
        await client.content.put("r", b"x")
        containerd.hang("Leases.List")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.leases.list()
        async with client.events.subscribe():
            pass
    # How many markers a subscription needs is a matter of chance.
    assert sorted(set(seen)) == [
        ("Containers", "Get", "NOT_FOUND"),
        ("Containers", "ListStream", "OK"),
        ("Content", "Write", "OK"),
        ("Events", "Publish", "OK"),
        ("Events", "Subscribe", "CANCELLED"),
        ("Leases", "List", "CANCELLED"),
        ("Version", "Version", "OK"),
    ]
    assert len(seen) - seen.count(("Events", "Publish", "OK")) == 6, f"some call was observed twice: {seen}"


async def test_a_client_under_a_lease_shares_the_connection(
    client: Client, containerd: ContainerdDouble
) -> None:
    await client.leases.create("l")
    leased = client.under("l")
    await leased.snapshots("overlayfs").prepare("s")
    await leased.close()
    await client.version.get()
    assert [(call.method, call.lease) for call in containerd.calls] == [
        ("Leases.Create", ""),
        ("Snapshots.Prepare", "l"),
        ("Version.Version", ""),
    ]
    assert client.snapshots("overlayfs") is client.snapshots("overlayfs")


async def test_a_call_that_makes_something_is_finished(client: Client, containerd: ContainerdDouble) -> None:
    """A caller who is cancelled hears of it when the record is there and can be deleted, not before."""
    hang = containerd.hang("Containers.Create")
    caller = asyncio.get_running_loop().create_task(client.containers.create(RECORD))
    await hang.reached.wait()
    caller.cancel()
    await asyncio.wait({caller}, timeout=0.05)
    assert not caller.done()
    hang.release()
    await asyncio.wait({caller}, timeout=5)
    assert caller.cancelled()
    assert containerd.leftovers().containers == ("c",)


async def test_a_call_that_is_finished_ends_with_its_deadline(containerd: ContainerdDouble) -> None:
    containerd.hang("Containers.Create")
    async with Client(containerd.address, timeout=0.1) as client:
        work = client.containers.create(RECORD)
        caller = asyncio.get_running_loop().create_task(work)
        await asyncio.sleep(0.02)
        caller.cancel()
        await asyncio.wait({caller}, timeout=5)
        assert caller.cancelled()
