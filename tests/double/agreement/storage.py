"""Scenarios of content, snapshots, layers and leases."""

from __future__ import annotations

from api.containerd import (
    Client,
    ContainerdError,
    Descriptor,
    LeaseResource,
    SnapshotInfo,
)
from api.containerd.content import ContentInfo
from api.containerd.content_writer import Writer
from tests.double.agreement.notebook import Notebook
from tests.double.agreement.workload import (
    LAYER_TYPE,
    digest_of,
    layer,
)


async def writing(client: Client, book: Notebook) -> None:
    data = b"some content"
    digest = digest_of(data)
    content = client.content
    async with client.leases.hold(id="writing") as held:
        async with held.content.writer("w", total=len(data), expected=digest) as writer:
            book.note("new offset", writer.offset)
            await writer.write(data[:4])
        book.note("kept", (await content.status("w")).offset)
        async with held.content.writer("w", total=len(data), expected=digest) as writer:
            book.note("resumed offset", writer.offset)
            await book.outcome("second writer", _open(held, "w"))
            await writer.write(data[4:])
            await book.outcome(
                "commit", writer.commit(size=len(data), expected=digest, labels={"a": "b", "c": ""})
            )
        book.note("labels", dict((await content.info(digest)).labels))
        await book.outcome("no ingest left", content.status("w"))
        await book.outcome("open for what is there", _open(held, "w2", digest))
        await book.outcome("no ingest made", content.status("w2"))
        await book.outcome("put again", held.content.put("w3", data, expected=digest))
        await book.outcome("wrong digest", held.content.put("w4", b"other", expected=digest_of(b"another")))
        book.note("ingest stays", (await content.status("w4")).offset)
        async with held.content.writer("w4") as writer:
            await writer.truncate()
            book.note("truncated", writer.offset)
            await writer.write(b"abc")
            await book.outcome("wrong size", writer.commit(size=7))
        await book.outcome("abort", content.abort("w4"))
        await book.outcome("abort again", content.abort("w4"))
        async with held.content.writer("w5") as writer:
            await writer.write(b"abc")
            writer.offset = 1
            await book.outcome("wrong offset", _write_and_hear(writer, b"d"))
        book.note("leased", [(held.type, held.id) for held in await client.leases.resources("writing")])
        book.note("read", await content.read_all(digest, 100))
        book.note("part", b"".join([part async for part in content.read(digest, 5, 3)]))
        book.note("past the end", await _read(client, digest, 1000))
        await book.outcome("odd path", content.update(ContentInfo(digest), "size"))
    await book.outcome("no ref", _open(client, ""))
    await book.outcome("read unknown", content.read_all(digest_of(b"?"), 10))
    await client.leases.create("collector")
    await client.leases.delete("collector", sync=True)
    await book.outcome("collected", content.info(digest))
    await book.outcome("delete", content.delete(digest))


async def _open(client: Client, ref: str, expected: str = "") -> None:
    async with client.content.writer(ref, expected=expected):
        pass


async def _read(client: Client, digest: str, offset: int) -> object:
    try:
        return [part async for part in client.content.read(digest, offset)]
    except ContainerdError as error:
        return type(error).__name__


async def sharing(client: Client, book: Notebook) -> None:
    """Content of another namespace is had without sending it, but committing at offset 0 throws it away."""
    data = b"shared content"
    digest = digest_of(data)
    async with Client(client.address, "other") as other:
        await other.content.put("s", data, labels={"containerd.io/gc.root": "1"})
        await book.outcome("not seen", client.content.info(digest))
        async with client.leases.hold() as held, held.content.writer("s", expected=digest) as writer:
            book.note("offset", writer.offset)
            await book.outcome("commit", writer.commit(size=len(data), expected=digest))
        await other.content.delete(digest)


async def snapshots(client: Client, book: Notebook) -> None:
    snapshots = client.snapshots("overlayfs")
    blob, diff_id = layer({"file": b"x" * 5000})
    async with client.leases.hold(id="unpack") as held:
        leased = held.snapshots("overlayfs")
        await held.content.put("layer", blob)
        descriptor = Descriptor(LAYER_TYPE, digest_of(blob), len(blob))
        await book.outcome("unknown snapshotter", client.snapshots("nope").stat("x"))
        await book.outcome("unknown parent", leased.prepare("p", "nope"), value=False)
        mounts = await leased.prepare("extract", "", {"containerd.io/snapshot.ref": diff_id})
        book.note("mounts", [(mount.type, mount.target, mount.options) for mount in mounts])
        await book.outcome("prepare again", leased.prepare("extract"))
        await book.outcome("parent not committed", leased.prepare("p", "extract"))
        applied = await held.diff.apply(descriptor, mounts)
        book.note("applied", (applied.digest == diff_id, applied.media_type, applied.size))
        await book.outcome(
            "unknown type", held.diff.apply(Descriptor("text/plain", descriptor.digest, 1), mounts)
        )
        await book.outcome(
            "unknown blob", held.diff.apply(Descriptor(LAYER_TYPE, digest_of(b"?"), 1), mounts)
        )
        await held.content.put("broken", blob[:-20])
        broken = Descriptor(LAYER_TYPE, digest_of(blob[:-20]), len(blob) - 20)
        await book.outcome("broken layer", held.diff.apply(broken, mounts), value=False)
        await book.outcome("commit", leased.commit(diff_id, "extract", {"own": "1"}))
        await book.outcome("key is gone", leased.stat("extract"))
        await book.outcome("commit again", leased.commit(diff_id, "extract"))
        await book.outcome("commit unknown", leased.commit("name", "extract"))
        await book.outcome(
            "target is there", leased.prepare("e2", "", {"containerd.io/snapshot.ref": diff_id})
        )
        await book.outcome("mounts of a committed one", leased.mounts(diff_id))
        info = await snapshots.stat(diff_id)
        book.note("info", (info.kind.name, info.parent, dict(info.labels)))
        top = await leased.prepare("top", diff_id)
        book.note("top", [(mount.type, [option.split("=")[0] for option in mount.options]) for mount in top])
        view = await leased.view("view", diff_id)
        book.note("view", [(mount.type, mount.options) for mount in view])
        await book.outcome("commit a view", leased.commit("x", "view"))
        await book.outcome("remove a parent", leased.remove(diff_id))
        book.note("usage is known", (await snapshots.usage(diff_id)).size >= 5000)
        changed = await snapshots.update(SnapshotInfo("top", labels={"l": "1"}), "labels.l")
        book.note("labelled", dict(changed.labels))
        await book.outcome("odd path", snapshots.update(SnapshotInfo("top"), "parent"))
        book.note("active", [found.name for found in await snapshots.list("kind==active")])
        leases = await client.leases.resources("unpack")
        book.note("leased", sorted((lease.type, lease.id) for lease in leases))
    await client.leases.create("collector")
    await client.leases.delete("collector", sync=True)
    book.note("collected", [found.name for found in await snapshots.list()])
    await book.outcome("remove unknown", snapshots.remove("top"))


async def leases(client: Client, book: Notebook) -> None:
    nameless = await client.leases.create("")
    book.note("named by the daemon", len(nameless.id) > 0)
    await client.leases.delete(nameless.id)
    await client.leases.create("lease", {"a": "1", "b": ""})
    await book.outcome("again", client.leases.create("lease"))
    book.note("listed", [(lease.id, dict(lease.labels)) for lease in await client.leases.list("labels.a==1")])
    for kind in ("content", "ingests", "snapshots/overlayfs", "snapshots", "images", "content/x"):
        key = digest_of(b"x") if kind.startswith("content") else "key"
        await book.outcome(f"add {kind}", client.leases.add("lease", LeaseResource(kind, key)))
    book.note("resources", await client.leases.resources("lease"))
    await book.outcome("remove", client.leases.remove("lease", LeaseResource("ingests", "key")))
    await book.outcome("remove again", client.leases.remove("lease", LeaseResource("ingests", "key")))
    await book.outcome("add to unknown", client.leases.add("nope", LeaseResource("ingests", "key")))
    await book.outcome("resources of unknown", client.leases.resources("nope"))
    await client.leases.delete("lease")
    await book.outcome("delete again", client.leases.delete("lease"))
    gone = client.under("lease")
    await book.outcome("snapshot under no lease", gone.snapshots("overlayfs").prepare("s"))
    await book.outcome("content under no lease", gone.content.put("r", b"data"))
    await book.outcome("nothing made", client.snapshots("overlayfs").stat("s"))
    await client.leases.create("old", {"containerd.io/gc.expire": "2001-01-01T00:00:00Z"})
    await client.leases.create("bad", {"containerd.io/gc.expire": "tomorrow"})
    await client.leases.create("collector")
    await client.leases.delete("collector", sync=True)
    book.note("after collection", [lease.id for lease in await client.leases.list()])
    await client.leases.delete("bad")


async def _write_and_hear(writer: Writer, data: bytes) -> None:
    """Write, and go on until the answer has come: a write's failure shows at the next step."""
    await writer.write(data)
    await writer.truncate()
