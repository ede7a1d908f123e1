"""Writing and reading blobs."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import TYPE_CHECKING

import grpc
import pytest

from api.containerd import Client, ContentExists, errors
from api.containerd.content_writer import WRITE_BYTES

if TYPE_CHECKING:
    from tests.double import ContainerdDouble


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def write(client: Client, ref: str, data: bytes, labels: dict[str, str] | None = None) -> str:
    async with client.content.writer(ref, total=len(data), expected=digest_of(data)) as writer:
        await writer.write(data[writer.offset :])
        return await writer.commit(size=len(data), expected=digest_of(data), labels=labels)


@pytest.mark.parametrize("size", [0, 1, WRITE_BYTES, WRITE_BYTES + 1, 2 * WRITE_BYTES + 17])
async def test_blobs_of_any_size_come_back(size: int, client: Client) -> None:
    data = random.Random(size).randbytes(size)
    assert await write(client, "r", data, {"k": "v"}) == digest_of(data)
    info = await client.content.info(digest_of(data))
    assert (info.size, dict(info.labels)) == (size, {"k": "v"})
    assert await client.content.read_all(info.digest, size) == data
    assert [blob.digest for blob in await client.content.list("labels.k==v")] == [info.digest]
    assert await client.content.statuses() == [], "committing ends the ingest"


@pytest.mark.parametrize("seed", range(5))
async def test_a_write_may_be_interrupted_and_resumed_anywhere(seed: int, client: Client) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(100_000)
    digest = digest_of(data)
    done = 0
    while True:
        async with client.content.writer("r", total=len(data), expected=digest) as writer:
            assert writer.offset == done, "the ingest was kept as it was left"
            for _ in range(chance.randrange(4)):
                await writer.write(data[done : done + chance.randrange(1, 20_000)])
                done = writer.offset
            if done == len(data):
                assert await writer.commit(size=len(data), expected=digest) == digest
                break
    assert await client.content.read_all(digest, len(data)) == data


async def test_the_ref_is_free_as_soon_as_a_writer_has_left(
    client: Client, containerd: ContainerdDouble
) -> None:
    for _ in range(20):
        async with client.content.writer("r") as writer:
            await writer.write(b"x")
        assert not containerd.state.namespace("k8s.io").ingests["r"].locked


async def test_a_cancelled_writer_lets_the_ref_go(client: Client) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), client.content.writer("r") as writer:
            await writer.write(b"abc")
            await asyncio.sleep(60)
    async with client.content.writer("r") as writer:
        assert writer.offset == 3


async def test_two_writers_of_a_ref(client: Client) -> None:
    async with client.content.writer("r"):
        with pytest.raises(errors.Locked):
            async with client.content.writer("r"):
                pass


async def test_what_is_there_is_not_written_again(client: Client) -> None:
    await client.content.put("r", b"data")
    with pytest.raises(ContentExists):
        async with client.content.writer("r2", expected=digest_of(b"data")):
            pass
    async with client.content.writer("r3") as writer:
        await writer.write(b"data")
        assert await writer.commit(expected=digest_of(b"data")) == digest_of(b"data")
    async with client.content.writer("r4") as writer:
        await writer.write(b"data")
        assert await writer.commit() == digest_of(b"data"), "the digest is known without being expected"
    assert await client.content.put("r5", b"data") == digest_of(b"data")


async def test_corrupt_data_is_refused_and_can_be_begun_again(client: Client) -> None:
    async with client.content.writer("r") as writer:
        await writer.write(b"dat4")
        with pytest.raises(errors.FailedPrecondition):
            await writer.commit(size=4, expected=digest_of(b"data"))
    async with client.content.writer("r") as writer:
        assert writer.offset == 4
        await writer.truncate()
        await writer.write(b"data")
        await writer.commit(size=4, expected=digest_of(b"data"))


async def test_the_digest_of_put_is_checked(client: Client) -> None:
    with pytest.raises(errors.FailedPrecondition):
        await client.content.put("r", b"data", expected=digest_of(b"other"))
    await client.content.abort("r")
    assert await client.content.put("r", b"") == digest_of(b"")


async def test_a_stream_that_breaks_says_why(client: Client, containerd: ContainerdDouble) -> None:
    containerd.fail("Content.Write", grpc.StatusCode.RESOURCE_EXHAUSTED, "no space left on device")
    with pytest.raises(errors.ResourceExhausted, match="no space left"):
        await write(client, "r", b"data")
    async with client.content.writer("r") as writer:
        await containerd.stop()
        with pytest.raises(errors.Unavailable, match=containerd.address):
            await writer.write(b"data")
            await writer.commit()  # a write's failure shows at the next step, if not before


async def test_read_all_has_a_limit(client: Client) -> None:
    digest = await client.content.put("r", b"x" * 1000)
    assert len(await client.content.read_all(digest, 1000)) == 1000
    with pytest.raises(errors.ResourceExhausted, match="larger than 999"):
        await client.content.read_all(digest, 999)


async def test_reading_may_stop_early(client: Client) -> None:
    digest = await client.content.put("r", b"x" * 1_000_000)
    blocks = client.content.read(digest)
    assert len(await anext(blocks)) > 0
    await blocks.aclose()
    parts = [part async for part in client.content.read(digest, 10, 50_000)]
    assert sum(map(len, parts)) == 50_000
