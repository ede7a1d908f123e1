"""Scenarios that are played on the double and on a real containerd, to hold one against the other.

Each scenario takes a client and a notebook, and writes down what it sees: results, kinds of refusals, topics of
events. Nothing in the notes depends on chance, so both daemons' notes must be equal. Processes use nothing but
busybox and SIGKILL, because the first process of a real PID namespace ignores other signals.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import signal
import tarfile
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from api.containerd import (
    PROCESS_TYPE_URL,
    SPEC_TYPE_URL,
    Client,
    Container,
    ContainerdError,
    Descriptor,
    Image,
    LeaseResource,
    Mount,
    SnapshotInfo,
    TypedValue,
)
from api.containerd.content import ContentInfo

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
RUNTIME = "io.containerd.runc.v2"
BUSYBOX = Path("/bin/busybox")
DEADLINE_SECONDS = 20.0
CGROUP_PARENT = "/containerd-agreement"


@dataclass(slots=True)
class Notebook:
    """What a scenario saw."""

    lines: list[str] = field(default_factory=list)

    def note(self, what: str, seen: object) -> None:
        """Write down a value."""
        self.lines.append(f"{what}: {seen!r}")

    async def outcome(self, what: str, call: Awaitable[object], *, value: bool = True) -> None:
        """Write down what a call gives, or what kind of refusal; without `value` only that it succeeded."""
        try:
            result = await call
        except ContainerdError as error:
            self.note(what, type(error).__name__)
        else:
            self.note(what, result if value else "done")


Scenario = Callable[[Client, Notebook], Awaitable[None]]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(files: Mapping[str, bytes], applets: Sequence[str] = ()) -> tuple[bytes, str]:
    """A gzipped layer with executable files and links to busybox, and its diff ID."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
        for applet in applets:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return gzip.compress(tar.getvalue(), compresslevel=1, mtime=0), digest_of(tar.getvalue())


# -- records


async def container_records(client: Client, book: Notebook) -> None:
    spec = TypedValue.json(SPEC_TYPE_URL, {})
    base = Container("record", runtime=RUNTIME, spec=spec)
    for what, wrong in {
        "no id": Container("", runtime=RUNTIME, spec=spec),
        "long id": Container("x" * 77, runtime=RUNTIME, spec=spec),
        "odd id": Container("a--b", runtime=RUNTIME, spec=spec),
        "no runtime": Container("record", spec=spec),
        "no spec": Container("record", runtime=RUNTIME),
        "key without snapshotter": Container("record", runtime=RUNTIME, spec=spec, snapshot_key="k"),
        "huge label": Container("record", {"k": "v" * 4096}, runtime=RUNTIME, spec=spec),
    }.items():
        await book.outcome(what, client.containers.create(wrong))
    made = await client.containers.create(
        Container("record", {"full": "yes", "empty": ""}, runtime=RUNTIME, spec=spec, sandbox_id="pod")
    )
    book.note("labels", sorted(made.labels))
    book.note("sandbox", made.sandbox_id)
    await book.outcome("again", client.containers.create(base))
    await book.outcome("get unknown", client.containers.get("unknown"))
    await book.outcome("update unknown", client.containers.update(Container("unknown"), "labels"))
    await book.outcome("other runtime", client.containers.update(Container("record", runtime="x", spec=spec)))
    await book.outcome("odd path", client.containers.update(base, "runtime"))
    changed = await client.containers.update(
        Container("record", {"new": "1"}, extensions={"e": TypedValue("t/x", b"[]")}),
        "labels.new",
        "labels.full",
        "extensions.e",
    )
    book.note("changed", (sorted(changed.labels), dict(changed.extensions), changed.runtime))
    book.note("listed", [found.id for found in await client.containers.list('labels."new"==1')])
    book.note("not listed", [found.id for found in await client.containers.list("labels.new==2", "id~=^x")])
    await book.outcome("bad filter", client.containers.list("labels.=="))
    await book.outcome("delete", client.containers.delete("record"))
    await book.outcome("delete again", client.containers.delete("record"))


async def image_records(client: Client, book: Notebook) -> None:
    target = Descriptor("application/vnd.oci.image.index.v1+json", digest_of(b"index"), 5)
    for what, wrong in {
        "no name": Image("", target),
        "no size": Image("i", Descriptor(target.media_type, target.digest, 0)),
        "no type": Image("i", Descriptor("", target.digest, 5)),
        "bad digest": Image("i", Descriptor(target.media_type, "sha256:0", 5)),
    }.items():
        await book.outcome(what, client.images.create(wrong))
    made = await client.images.create(Image("i", target, {"a": "1", "b": "", "c": "3"}))
    book.note("labels", dict(sorted(made.labels.items())))
    await book.outcome("again", client.images.create(Image("i", target)))
    await book.outcome("update unknown", client.images.update(Image("other", target)))
    await book.outcome("odd path", client.images.update(Image("i", target), "name"))
    changed = await client.images.update(Image("i", target, {"d": "4"}), "labels.d", "labels.a")
    book.note("changed", dict(sorted(changed.labels.items())))
    book.note("replaced", dict((await client.images.update(Image("i", target))).labels))
    book.note(
        "by digest", [image.name for image in await client.images.list(f"target.digest=={target.digest}")]
    )
    await book.outcome("delete", client.images.delete("i", sync=True))
    await book.outcome("delete again", client.images.delete("i"))


# -- content


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
            await book.outcome("wrong offset", writer.write(b"d"))
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


# -- snapshots and layers


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


# -- tasks


@asynccontextmanager
async def streams() -> AsyncIterator[tuple[dict[str, str], Callable[[str], bytes]]]:
    """FIFOs for stdin, stdout and stderr with our read ends open, and a function that reads one to its end."""
    with tempfile.TemporaryDirectory(prefix="agreement-") as directory:
        paths = {name: f"{directory}/{name}" for name in ("stdin", "stdout", "stderr")}
        for path in paths.values():
            os.mkfifo(path)
        readers = {name: os.open(paths[name], os.O_RDONLY | os.O_NONBLOCK) for name in ("stdout", "stderr")}

        def read(name: str) -> bytes:
            os.set_blocking(readers[name], True)
            with os.fdopen(os.dup(readers[name]), "rb") as stream:
                return stream.read()

        try:
            yield paths, read
        finally:
            for fd in readers.values():
                os.close(fd)


def oci_spec(container_id: str, args: Sequence[str]) -> TypedValue:
    """The least that runc runs."""
    return TypedValue.json(
        SPEC_TYPE_URL,
        {
            "ociVersion": "1.0.2",
            "process": oci_process(args),
            "root": {"path": "rootfs"},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "cgroupsPath": f"{CGROUP_PARENT}/{container_id}",
                "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")],
            },
        },
    )


def oci_process(args: Sequence[str]) -> dict[str, object]:
    return {"user": {"uid": 0, "gid": 0}, "args": list(args), "env": ["PATH=/bin"], "cwd": "/"}


@asynccontextmanager
async def container(client: Client, container_id: str, args: Sequence[str]) -> AsyncIterator[list[Mount]]:
    """A container with busybox in it; gone at the end with its task and snapshot."""
    blob, _ = await asyncio.to_thread(layer, {"bin/busybox": BUSYBOX.read_bytes()}, ("sleep", "echo", "cat"))
    snapshots = client.snapshots("overlayfs")
    async with client.leases.hold() as held:
        await held.content.put(f"layer-{container_id}", blob)
        mounts = await held.snapshots("overlayfs").prepare(container_id)
        await held.diff.apply(Descriptor(LAYER_TYPE, digest_of(blob), len(blob)), mounts)
        await client.containers.create(
            Container(
                container_id,
                runtime=RUNTIME,
                spec=oci_spec(container_id, args),
                snapshotter="overlayfs",
                snapshot_key=container_id,
            )
        )
    try:
        yield mounts
    finally:
        for clean_up in (
            lambda: client.tasks.kill(container_id, signal.SIGKILL, everything=True),
            lambda: client.tasks.wait(container_id, timeout=5),
            lambda: client.tasks.delete(container_id),
            lambda: client.containers.delete(container_id),
            lambda: snapshots.remove(container_id),
        ):
            try:
                await clean_up()
            except ContainerdError:
                continue


async def task_life(client: Client, book: Notebook) -> None:
    tasks = client.tasks
    await book.outcome("create without record", tasks.create("life", mounts=[]))
    await book.outcome("get without record", tasks.get("life"))
    async with container(client, "life", ["/bin/sleep", "1000"]) as mounts:
        await book.outcome("get without task", tasks.get("life"))
        await book.outcome("delete without task", tasks.delete("life"))
        pid = await tasks.create("life", mounts=mounts)
        await book.outcome("create again", tasks.create("life", mounts=mounts))
        created = await tasks.get("life")
        book.note(
            "created", (created.status.name, created.pid == pid, created.exit_status, created.exited_at)
        )
        await book.outcome("pause created", tasks.pause("life"))
        book.note("start", await tasks.start("life") == pid)
        await book.outcome("start again", tasks.start("life"))
        book.note("listed", [(task.container_id, task.status.name) for task in await tasks.list()])
        await book.outcome("delete running", tasks.delete("life"))
        book.note("pids", await tasks.pids("life") == [pid])
        await book.outcome("resume running", tasks.resume("life"))
        await book.outcome("pause", tasks.pause("life"))
        book.note("paused", (await tasks.get("life")).status.name)
        await book.outcome("pause again", tasks.pause("life"))
        await book.outcome("resume", tasks.resume("life"))
        book.note("metrics of", [metric.container_id for metric in await tasks.metrics("id==life")])
        book.note("no metrics", await tasks.metrics("id==other"))
        await book.outcome("signal 0", tasks.kill("life", 0))
        await book.outcome("kill", tasks.kill("life", signal.SIGKILL))
        ended = await tasks.wait("life")
        book.note("exit", (ended.status, ended.at > 0))
        stopped = await tasks.get("life")
        book.note(
            "stopped",
            (stopped.status.name, stopped.exit_status, stopped.exited_at == ended.at, stopped.pid == pid),
        )
        await book.outcome("kill again", tasks.kill("life", signal.SIGKILL))
        await book.outcome("exec in stopped", _exec(client, "life", "e", ["/bin/echo"]))
        await book.outcome("wait again", tasks.wait("life"), value=False)
        deleted = await tasks.delete("life")
        book.note("deleted", (deleted.pid == pid, deleted.status, deleted.at == ended.at))
        await book.outcome("delete again", tasks.delete("life"))
        await tasks.create("life", mounts=mounts)
        deleted = await tasks.delete("life")
        book.note("deleted created", deleted.status)
        await tasks.create("life", mounts=mounts)
        await book.outcome("kill created", tasks.kill("life", signal.SIGKILL))
        book.note("exit of created", (await tasks.wait("life")).status)
        await book.outcome("start killed", tasks.start("life"))


async def output(client: Client, book: Notebook) -> None:
    tasks = client.tasks
    async with container(client, "out", ["/bin/cat"]) as mounts, streams() as (paths, read):
        await book.outcome("stdout alone", tasks.create("out", mounts=mounts, stdout=paths["stdout"]))
        await book.outcome(
            "missing fifos", tasks.create("out", mounts=mounts, stdout="/nowhere/o", stderr="/nowhere/e")
        )
        await tasks.create(
            "out", mounts=mounts, stdin=paths["stdin"], stdout=paths["stdout"], stderr=paths["stderr"]
        )
        process = await tasks.get("out")
        book.note("names", (process.stdout == paths["stdout"], process.terminal))
        await tasks.start("out")
        await asyncio.to_thread(Path(paths["stdin"]).write_bytes, b"hello\n")
        await tasks.close_io("out")
        book.note("exit", (await tasks.wait("out")).status)
        book.note(
            "output", (await asyncio.to_thread(read, "stdout"), await asyncio.to_thread(read, "stderr"))
        )
        await tasks.delete("out")


async def execs(client: Client, book: Notebook) -> None:
    tasks = client.tasks
    async with container(client, "exe", ["/bin/sleep", "1000"]) as mounts:
        await tasks.create("exe", mounts=mounts)
        await tasks.start("exe")
        await book.outcome("no id", _exec(client, "exe", "", ["/bin/echo"]))
        await book.outcome("unknown", tasks.get("exe", "none"))
        async with streams() as (paths, read):
            outputs = {name: paths[name] for name in ("stdout", "stderr")}
            await _exec(client, "exe", "e", ["/bin/echo", "hi"], **outputs)
            await book.outcome("again", _exec(client, "exe", "e", ["/bin/echo"]))
            added = await tasks.get("exe", "e")
            book.note("added", (added.status.name, added.pid, added.exec_id))
            await book.outcome("kill before start", tasks.kill("exe", 9, exec_id="e"))
            book.note("start", await tasks.start("exe", "e") > 0)
            book.note("exit", (await tasks.wait("exe", "e")).status)
            book.note("output", await asyncio.to_thread(read, "stdout"))
            await book.outcome("kill after exit", tasks.kill("exe", 9, exec_id="e"))
            await book.outcome("start after exit", tasks.start("exe", "e"))
            deleted = await tasks.delete_process("exe", "e")
            book.note("deleted", (deleted.status, deleted.pid > 0))
            await book.outcome("delete again", tasks.delete_process("exe", "e"))
        await _exec(client, "exe", "f", ["/bin/sleep", "1000"])
        await tasks.start("exe", "f")
        book.note("pids", len(await tasks.pids("exe")))
        await book.outcome("delete running", tasks.delete_process("exe", "f"))
        await tasks.kill("exe", 9, exec_id="f")
        book.note("killed", (await tasks.wait("exe", "f")).status)
        await tasks.delete_process("exe", "f")
        await _exec(client, "exe", "g", ["/bin/sleep", "1000"])
        await book.outcome("delete not started", tasks.delete_process("exe", "g"), value=False)
        await _exec(client, "exe", "h", ["/bin/nonexistent"])
        await book.outcome("start what is not there", tasks.start("exe", "h"))
        book.note("not started", (await tasks.get("exe", "h")).status.name)
        await book.outcome("delete failed", tasks.delete_process("exe", "h"), value=False)
        await _exec(client, "exe", "i", ["/bin/sleep", "1000"])
        await tasks.start("exe", "i")
        await tasks.kill("exe", 9)
        book.note("dies with init", (await tasks.wait("exe", "i")).status)
        await tasks.wait("exe")
        await book.outcome("deleted with exec", tasks.delete("exe"), value=False)


async def _exec(client: Client, container_id: str, exec_id: str, args: Sequence[str], **outputs: str) -> None:
    process = TypedValue.json(PROCESS_TYPE_URL, oci_process(args))
    await client.tasks.exec(container_id, exec_id, process, **outputs)  # type: ignore[arg-type]


# -- events


async def events(client: Client, book: Notebook) -> None:
    """Topics, and the words of each event that do not depend on chance."""
    seen: list[str] = []
    async with client.events.subscribe(f'namespace=="{client.namespace}"') as subscription:
        async with container(client, "ev", ["/bin/sleep", "1000"]) as mounts:
            await client.tasks.create("ev", mounts=mounts)
            await client.tasks.start("ev")
            await _exec(client, "ev", "x", ["/bin/sleep", "1000"])
            await client.tasks.start("ev", "x")
            await client.tasks.kill("ev", 9, exec_id="x")
            await client.tasks.wait("ev", "x")
            await client.tasks.delete_process("ev", "x")
            await client.tasks.pause("ev")
            await client.tasks.resume("ev")
            await client.containers.update(Container("ev", {"a": "1"}), "labels.a")
            await client.tasks.kill("ev", 9)
            await client.tasks.wait("ev")
            await client.tasks.delete("ev")
        target = Descriptor("x/y", digest_of(b"x"), 1)
        await client.images.create(Image("ev", target, {"l": "1"}))
        await client.images.update(Image("ev", target))
        await client.images.delete("ev")
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for event in subscription:
                words = [
                    f"{name}={getattr(event.message, name)}"
                    for name in ("id", "container_id", "exec_id", "name", "exit_status", "image", "parent")
                    if getattr(event.message, name, "") not in ("", 0)
                ]
                seen.append(f"{event.topic} {type(event.message).__name__} {' '.join(words)}")
                if event.topic == "/images/delete":
                    break
    # Shims forward their events on their own, so only the order within a kind is certain.
    for kind in ("/tasks", "/containers", "/images", "/snapshot", "/content"):
        book.note(kind, [line for line in seen if line.startswith(kind + "/")])


async def daemon(client: Client, book: Notebook) -> None:
    await book.outcome("plugin info", client.introspection.plugin_info("io.containerd.runtime.v2", "task"))
    plugins = await client.introspection.plugins("type==io.containerd.snapshotter.v1,id==overlayfs")
    book.note("overlayfs", [(plugin.error, sorted(plugin.exports)) for plugin in plugins])
    book.note("root is there", all(os.path.isdir(plugin.exports["root"]) for plugin in plugins))
    server = await client.introspection.server()
    book.note("server", (bool(server.uuid), server.pid))
    async with Client(client.address, "") as nowhere:
        await book.outcome("no namespace", nowhere.containers.list())
        await book.outcome("version without one", nowhere.version.get(), value=False)
    await book.outcome("transfer", client.transfer.transfer(TypedValue("a", b""), TypedValue("b", b"")))
    await client.namespaces.ensure("fresh", {"a": "1"})
    await client.namespaces.ensure("fresh", {"b": "2"})
    book.note("namespace", dict(sorted((await client.namespaces.get("fresh")).labels.items())))
    await book.outcome("delete", client.namespaces.delete("fresh"))
    await book.outcome("delete again", client.namespaces.delete("fresh"))
    await book.outcome("get unknown", client.namespaces.get("fresh"))
    await book.outcome("odd topic", client.events.publish("topic", TypedValue("a", b"")))


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        container_records,
        image_records,
        writing,
        sharing,
        snapshots,
        leases,
        task_life,
        output,
        execs,
        events,
        daemon,
    )
}
