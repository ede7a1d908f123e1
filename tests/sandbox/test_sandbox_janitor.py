"""What nobody owns is found, by kind, and removed; what is not certainly ours is left alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.containerd import SPEC_TYPE_URL, TypedValue
from api.containerd import Container as ContainerdContainer
from cri.concurrency.undo import UndoStack, watch_leftovers
from cri.container.image_view import PURPOSE, PURPOSE_LABEL, SERVER, SERVER_LABEL
from cri.errors import Unavailable
from cri.linux.mounts import is_mount_point
from cri.linux.namespaces import create_network_namespace, is_namespace
from cri.linux.process import parent, processes
from cri.network.attachment import Attachment
from cri.sandbox.files import prepare_files
from cri.sandbox.janitor import rounds
from cri.sandbox.janitor.finding import OWNED, REASONS, leftovers
from cri.sandbox.janitor.observing import ours
from cri.sandbox.janitor.rounds import Janitor
from cri.sandbox.janitor.values import Kind, Leftover, Owners, Remedy, Thing
from cri.state.records import SandboxRecord
from tests.double.containerd import until
from tests.node import BY_PROCESS, DoubleNode

GONE = "ab" * 32
NOBODY = Owners(frozenset(), frozenset(), frozenset())


def kinds(found: tuple[Leftover, ...]) -> set[Kind]:
    return {each.kind for each in found}


# -- finding


@pytest.mark.parametrize("kind", OWNED)
def test_every_kind_has_a_reason(kind: Kind):
    (found,) = leftovers([Thing(kind, "name", GONE)], NOBODY)
    assert found.reason == REASONS[kind][0]


@given(
    st.sampled_from(sorted(OWNED, key=lambda kind: kind.value)),
    st.sampled_from(["sandboxes", "containers", "records"]),
    st.booleans(),
)
def test_what_has_a_record_is_never_removed(kind: Kind, group: str, alive: bool):
    """Whatever the index knows or does not know: a record in containerd keeps its things."""
    owners = replace(NOBODY, **{group: frozenset({GONE})})
    found = leftovers([Thing(kind, "name", GONE, alive=alive)], owners)
    if group == "records" and kind not in (Kind.FOLLOWED_LOG, Kind.LEASE):
        assert not found
    assert all(each.remedy is Remedy.REPORT for each in found if alive and kind is not Kind.FOLLOWED_LOG)


def test_a_namespace_is_known_by_the_part_of_the_id_in_its_name():
    thing = Thing(Kind.NETWORK_NAMESPACE, "/run/netns/x", GONE[:32])
    assert not leftovers([thing], replace(NOBODY, sandboxes=frozenset({GONE})))
    assert leftovers([thing], replace(NOBODY, sandboxes=frozenset({"cd" * 32})))


def test_a_leased_snapshot_is_somebodys():
    thing = Thing(Kind.SNAPSHOT, f"overlayfs/{GONE}", GONE)
    assert leftovers([thing], NOBODY)
    assert not leftovers([thing], replace(NOBODY, leased_snapshots=frozenset({thing.name})))


def test_quarantined_records_are_reported_and_keep_their_things():
    owners = replace(NOBODY, records=frozenset({GONE}), quarantined={GONE: "extension is missing"})
    (found,) = leftovers([Thing(Kind.SANDBOX_FILES, "/x", GONE)], owners)
    assert (found.kind, found.remedy) == (Kind.RECORD, Remedy.REPORT)
    assert "extension is missing" in found.reason


def test_attachments_of_other_programs_are_not_ours(node: DoubleNode):
    paths = node.pods.engine.paths
    mine = Attachment("n", GONE, "eth0", b"{}", network_namespace=str(paths.network_namespace(GONE)))
    assert ours(paths, mine)
    assert not ours(paths, replace(mine, network_namespace="/run/netns/cni-1234"))
    assert not ours(paths, replace(mine, network_namespace=""))
    assert not ours(paths, replace(mine, container_id="podman-1"))


# -- on a node


async def test_a_node_at_work_has_no_leftovers(node: DoubleNode):
    await node.running()
    assert await node.janitor.look() == ()
    assert (await node.janitor.sweep()).found == ()
    (sandbox,) = node.node.sandboxes
    assert sandbox.ready


async def test_pods_in_the_making_have_no_leftovers(node: DoubleNode):
    node.network.hold.clear()
    run = asyncio.get_running_loop().create_task(node.sandboxes.run(node.pod_config(), ""))
    await node.network.reached.wait()
    assert (await node.janitor.sweep()).found == ()
    node.network.hold.set()
    await node.sandboxes.remove(await run)


async def test_containers_in_the_making_have_no_leftovers(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    hang = node.containerd.hang("Containers.Create", times=1)
    create = asyncio.get_running_loop().create_task(node.containers.create(pod, node.container_config()))
    await hang.reached.wait()
    assert (await node.janitor.sweep()).found == ()
    hang.release()
    await create


async def test_everything_of_a_vanished_pod_goes(node: DoubleNode):
    """The record was removed behind our back, or the server died before it was written."""
    paths = node.pods.engine.paths
    record = SandboxRecord(GONE, "gone", node.pod_config(), str(paths.network_namespace(GONE)), "")
    await asyncio.to_thread(prepare_files, paths, record)
    await create_network_namespace(paths.network_namespace(GONE))
    node.network.attached[GONE] = record.network_namespace
    await node.client.snapshots("overlayfs").prepare(GONE)
    paths.container_state(GONE).mkdir(parents=True)
    os.mkfifo(paths.container_state(GONE) / "stdout")
    node.keeper.followed[GONE] = []
    found = await node.janitor.look()
    assert kinds(found) == {
        Kind.NETWORK_NAMESPACE,
        Kind.SANDBOX_FILES,
        Kind.CONTAINER_FILES,
        Kind.ATTACHMENT,
        Kind.SNAPSHOT,
        Kind.FOLLOWED_LOG,
    }
    files = next(
        each for each in found if each.kind is Kind.SANDBOX_FILES and each.name.startswith(str(paths.root))
    )
    assert files.size, "the size of what is freed is told"
    assert files.age_seconds is not None
    assert is_namespace(paths.network_namespace(GONE)), "looking removes nothing"
    assert not (await node.janitor.sweep()).failed
    assert not is_namespace(paths.network_namespace(GONE))
    assert not is_mount_point(paths.shared_memory(GONE))
    assert await node.janitor.look() == ()
    node.assert_nothing_left()


async def test_the_views_of_a_killed_server_go(node: DoubleNode):
    theirs = {PURPOSE_LABEL: PURPOSE, SERVER_LABEL: "killed"}
    await node.client.leases.create("theirs", theirs)
    await node.client.leases.create("ours", {**theirs, SERVER_LABEL: SERVER})
    await node.client.leases.create("somebody's")
    swept = await node.janitor.sweep()
    assert [each.name for each in swept.removed] == ["theirs"]
    assert sorted(node.containerd.leftovers().leases) == ["ours", "somebody's"]
    for lease in ("ours", "somebody's"):
        await node.client.leases.delete(lease)


async def test_a_container_without_its_sandbox_goes(node: DoubleNode):
    pod, container = await node.running()
    node.containerd.process(container).exit(0)
    await node.containers.get(container).exited.wait()
    sandbox = node.sandboxes.get(pod)
    if sandbox.pid:
        await node.client.tasks.kill(pod, 9)
        await sandbox.ended.wait()
    await node.settled()
    await node.client.containers.delete(pod)
    node.node.remove_sandbox(sandbox)
    await node.janitor.sweep()
    await node.settled()
    assert not list(node.node.containers)


async def test_a_running_container_without_its_sandbox_is_reported(node: DoubleNode):
    pod, container = await node.running()
    sandbox = node.sandboxes.get(pod)
    await node.client.containers.delete(pod)
    node.node.remove_sandbox(sandbox)
    found = {each.kind: each for each in await node.janitor.look()}
    assert found[Kind.CONTAINER].remedy is Remedy.REPORT
    assert "stop and remove it" in found[Kind.CONTAINER].reason
    await node.containers.remove(container)
    await node.janitor.sweep()


async def test_a_namespace_with_processes_in_it_is_only_reported(node: DoubleNode):
    """Another server may share /run/netns; nobody's pod is cut off the network."""
    path = node.pods.engine.paths.network_namespace(GONE)
    await create_network_namespace(path)
    process = await asyncio.create_subprocess_exec("nsenter", f"--net={path}", "sleep", "60")
    try:
        await until(lambda: os.stat(f"/proc/{process.pid}/ns/net").st_ino == path.stat().st_ino)
        swept = await node.janitor.sweep()
        assert [each.remedy for each in swept.found] == [Remedy.REPORT]
        assert is_namespace(path)
    finally:
        process.kill()
        await process.wait()
    await node.janitor.sweep()
    assert not path.exists()


@contextlib.asynccontextmanager
async def shim(
    bundle: Path, address: str, owner: str = GONE, child: str = "", descriptors: Collection[int] = ()
) -> AsyncIterator[Process]:
    """A process that looks like a shim, in a bundle that is deleted; it runs `child` below itself."""
    bundle.mkdir()
    flags = ("-namespace", "k8s.io", "-id", owner, "-address", address)
    process = await asyncio.create_subprocess_exec(
        *("/usr/bin/containerd-shim-runc-v2", "-c", f"{child} echo; read _", *flags),
        executable="/bin/sh",
        cwd=bundle,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        pass_fds=descriptors,
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        bundle.rmdir()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def test_a_shim_that_containerd_has_forgotten_is_ended(node: DoubleNode, tmp_path: Path):
    async with shim(tmp_path / "bundle", node.containerd.address) as process:
        swept = await node.janitor.sweep()
        assert [(each.kind, each.owner) for each in swept.removed] == [(Kind.SHIM, GONE)]
        assert await process.wait() == -signal.SIGKILL


async def test_a_forgotten_shim_with_something_below_it_is_only_reported(node: DoubleNode, tmp_path: Path):
    async with shim(tmp_path / "bundle", node.containerd.address, child="sleep 60 >&- &") as process:
        await until(lambda: (process.pid, "sleep") in [(parent(pid), line[0]) for pid, line in processes()])
        (found,) = (await node.janitor.sweep()).found
        assert (found.kind, found.remedy) == (Kind.SHIM, Remedy.REPORT)
        assert process.returncode is None


@pytest.mark.parametrize(
    ("note", "form"),
    [("address", "unix://{}"), ("bootstrap.json", '{{"version": 3, "address": "unix://{}"}}')],
)
async def test_a_shim_whose_first_container_has_gone_serves_the_others(
    node: DoubleNode, tmp_path: Path, note: str, form: str
):
    """Of a pod without a pause container; between two containers nothing need run below it."""
    path = tmp_path / "s"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / note).write_text(form.format(path))
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(path))
        served.listen()
        begun = shim(tmp_path / "bundle", node.containerd.address, descriptors=[served.fileno()])
        async with begun as process:
            assert (await node.janitor.sweep()).found == ()
            assert process.returncode is None


async def test_shims_of_another_containerd_or_of_a_known_container_are_left_alone(
    node: DoubleNode, tmp_path: Path
):
    pod, _ = await node.running()
    async with (
        shim(tmp_path / "theirs", "/run/other/containerd.sock"),
        shim(tmp_path / "known", node.containerd.address, owner=pod),
    ):
        assert (await node.janitor.sweep()).found == ()
    await node.sandboxes.remove(pod)


async def test_other_peoples_things_are_left_alone(node: DoubleNode):
    paths = node.pods.engine.paths
    names = [
        paths.root / "sandboxes" / "notes.txt",
        paths.network_namespace(GONE).parent / "cni-1234",
        paths.network_namespace(GONE).parent / "cri-shim-mine",
    ]
    for name in names:
        name.parent.mkdir(exist_ok=True, parents=True)
        name.touch()
    node.network.attached["f" * 64] = "/run/netns/cni-5678"
    await node.client.snapshots("overlayfs").prepare("somebody's work")
    await node.client.containers.create(
        ContainerdContainer(id="moby", runtime="io.containerd.runc.v2", spec=TypedValue(SPEC_TYPE_URL, b"{}"))
    )
    assert (await node.janitor.sweep()).found == ()
    assert all(name.exists() for name in names)
    assert node.network.attached == {"f" * 64: "/run/netns/cni-5678"}
    node.network.attached.clear()
    for name in names:
        name.unlink()
    await node.client.containers.delete("moby")
    await node.client.snapshots("overlayfs").remove("somebody's work")


async def test_a_record_that_cannot_be_read_keeps_its_containers(node: DoubleNode):
    """The pod's record is damaged: its containers are not taken for orphans."""
    pod, _ = await node.running()
    node.node.quarantined[pod] = "extension is damaged"
    node.node.remove_sandbox(node.sandboxes.get(pod))
    assert kinds(await node.janitor.look()) == {Kind.RECORD}
    await node.client.containers.delete(pod)
    node.node.quarantined.clear()
    await node.janitor.sweep()


async def test_what_cannot_be_removed_is_said_and_tried_again(node: DoubleNode):
    node.network.attached[GONE] = str(node.pods.engine.paths.network_namespace(GONE))
    node.network.fail["DEL"] = Unavailable("the network's daemon is away")
    swept = await node.janitor.sweep()
    assert [(each.kind, reason) for each, reason in swept.failed.items()] == [
        (Kind.ATTACHMENT, "the network's daemon is away")
    ]
    assert not swept.removed
    node.network.fail.clear()
    assert kinds((await node.janitor.sweep()).removed) == {Kind.ATTACHMENT}
    assert not node.network.attached


@BY_PROCESS
async def test_a_failed_undo_step_brings_the_janitor(node: DoubleNode, monkeypatch: pytest.MonkeyPatch):
    """Roll-backs tell of what they could not undo; the janitor comes soon, not an hour later."""
    monkeypatch.setattr(rounds, "AFTER_FAILURE_SECONDS", (0.0, 0.02, 0.05))
    janitor = Janitor(node.pods, node.observer, 3600.0)
    counted: list[str] = []
    ends = [
        watch_leftovers(janitor.note_failed_undo),
        watch_leftovers(lambda _operation, step, _error: counted.append(step)),
    ]
    task = node.supervisor.start("janitor", janitor.run())
    try:
        await until(lambda: janitor.rounds > 0)
        node.containerd.fail("Tasks.Create", grpc.StatusCode.UNKNOWN, "no such runtime")
        node.containerd.fail("Snapshots.Remove", grpc.StatusCode.UNKNOWN, "device busy")
        with pytest.raises(Exception, match="no such runtime"):
            await node.sandboxes.run(node.pod_config(), "")
        assert counted == ["remove snapshot"]
        await until(lambda: Kind.SNAPSHOT in kinds(janitor.last.removed), 30)
        assert all("sha256:" in key for key in node.containerd.leftovers().snapshots)
    finally:
        for end in ends:
            end()
        task.cancel()
        await asyncio.wait({task})


async def test_the_janitor_waits_for_recovery(node: DoubleNode):
    """Before the pods are known everything would look like a leftover."""
    node.observer.recovered.clear()
    with pytest.raises(Unavailable, match="not known yet"):
        await node.janitor.look()
    node.observer.recovered.set()


async def test_an_undo_stack_tells_of_each_step_that_failed():
    heard: list[tuple[str, str]] = []
    end = watch_leftovers(lambda operation, step, _error: heard.append((operation, step)))

    async def fail() -> None:
        raise OSError("busy")

    try:
        with pytest.raises(ValueError, match="original"):
            async with UndoStack("Run") as undo:
                undo.push("unmount", fail)
                raise ValueError("original")
    finally:
        end()
    assert heard == [("Run", "unmount")]
