"""The server's own container: what it is given, and that containerd is told to keep it running."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from api.containerd import Client, ProcessStatus
from api.containerd import errors as containerd
from cri.app.built_image import Settings, image_of, layer_of, layout_archive
from cri.app.contained import commands, keeping
from cri.app.contained.log_keeper import retire
from cri.app.contained.specification import server_specification
from cri.app.host_images import host_architecture
from cri.app.image.importing import import_archive
from cri.app.log_keeper_cgroup import settler, vacated
from cri.app.node import LOG_KEEPER_COMMAND
from cri.errors import FailedPrecondition, NotFound
from cri.linux.cgroup_places import enter, processes_in
from cri.linux.cgroups import directories_of
from cri.linux.mounts import MountInfo, Propagation
from cri.logs.client import Followed, LogKeeper
from tests.double import ContainerdDouble

NAME = "docker.io/library/cri-shim:1"
LABELS = {
    "containerd.io/restart.status": "running",
    "containerd.io/restart.loguri": "file:///var/log/shim.log",
}


@pytest.fixture
async def double() -> AsyncIterator[ContainerdDouble]:
    async with ContainerdDouble() as running:
        yield running


@pytest.fixture
async def client(double: ContainerdDouble) -> AsyncIterator[Client]:
    async with Client(double.address, keeping.NAMESPACE) as connected:
        yield connected


def wanted(*arguments: str) -> keeping.Wanted:
    spec = server_specification(
        arguments, shared=["/run"], others=["/etc/cni"], capabilities=["CAP_SYS_ADMIN"]
    )
    return keeping.Wanted(NAME, spec, "/var/log/shim.log")


async def imported(client: Client, *, unpacked: bool = True) -> None:
    layer = layer_of([])
    image = image_of([layer], Settings(), host_architecture())
    await import_archive(client, io.BytesIO(layout_archive({NAME: image})), "")
    if unpacked:
        snapshots = client.snapshots("overlayfs")
        await snapshots.prepare("unpacking")
        await snapshots.commit(layer.diff_id, "unpacking", {"containerd.io/gc.root": "now"})


def test_mounts_go_both_ways_where_they_must() -> None:
    spec = server_specification(
        ["--config", "/etc/x.toml"], shared=["/run"], others=["/etc/cni"], capabilities=["CAP_SYS_ADMIN"]
    )
    options = {mount["destination"]: mount["options"] for mount in spec["mounts"]}
    assert "rshared" in options["/run"]
    assert "rshared" not in options["/etc/cni"]
    assert spec["linux"]["rootfsPropagation"] == "rshared", "without it the root would cut propagation off"
    assert [each["type"] for each in spec["linux"]["namespaces"]] == ["mount"]
    assert spec["process"]["args"][:2] == ["cri-shim", "serve"]
    assert spec["process"]["args"][-2:] == ["--config", "/etc/x.toml"], (
        "what is given goes over what is implied"
    )


async def test_it_runs_and_containerd_is_to_keep_it_running(client: Client) -> None:
    await imported(client)
    await keeping.install(client, wanted())
    assert (await client.tasks.get(keeping.CONTAINER)).status == ProcessStatus.RUNNING
    record = await client.containers.get(keeping.CONTAINER)
    assert record.labels == LABELS
    assert record.image == NAME


async def test_another_image_takes_its_place(client: Client) -> None:
    await imported(client)
    await keeping.install(client, wanted())
    first = (await client.tasks.get(keeping.CONTAINER)).pid
    await keeping.install(client, wanted("--log-level", "debug"))
    record = await client.containers.get(keeping.CONTAINER)
    assert record.spec is not None
    assert b'"--log-level","debug"' in record.spec.value
    assert (await client.tasks.get(keeping.CONTAINER)).pid != first


async def test_removing_leaves_nothing(client: Client) -> None:
    await imported(client)
    await keeping.install(client, wanted())
    assert await keeping.remove(client)
    assert not await keeping.remove(client)
    for gone in (
        client.containers.get(keeping.CONTAINER),
        client.tasks.get(keeping.CONTAINER),
        client.snapshots("overlayfs").stat(keeping.CONTAINER),
    ):
        with pytest.raises(containerd.NotFound):
            await gone


@pytest.mark.parametrize("there", [False, True], ids=["no image", "not unpacked"])
async def test_an_image_that_cannot_be_used_leaves_the_old_container_alone(
    client: Client, *, there: bool
) -> None:
    if there:
        await imported(client, unpacked=False)
    with pytest.raises(NotFound, match="images import"):
        await keeping.install(client, wanted())
    assert await client.containers.list() == []


def test_a_private_mount_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    root = MountInfo(
        1, 0, "8:1", "/", "/", frozenset(), Propagation.PRIVATE, "ext4", "/dev/sda1", frozenset()
    )
    monkeypatch.setattr("cri.linux.mounts.mount_table", lambda _pid: [root])
    with pytest.raises(FailedPrecondition, match="mount --make-rshared /"):
        commands.check_shared(["/run"])
    assert CliRunner().invoke(commands.group, ["install", NAME]).exit_code != 0


def test_the_log_keeper_is_beside_the_server_not_below_it() -> None:
    spec = server_specification(["--root", "/r"], shared=[], others=[], capabilities=[], cgroup="/a/server")
    assert spec["linux"]["cgroupsPath"] == "/a/server"
    assert spec["process"]["args"] == [
        *("cri-shim", "serve", "--log-keeper-cgroup", "/a/server-log-keeper", "--root", "/r")
    ]


@pytest.fixture
async def cgroup() -> AsyncIterator[str]:
    name = f"/test-cri-shim-keeper-{os.getpid()}"
    yield name
    for pid in processes_in(name):  # of a test that has failed
        os.kill(pid, signal.SIGKILL)
    assert await vacated(name)


async def nothing_followed() -> Sequence[Followed]:
    return []


async def test_a_log_keeper_ends_once_nobody_writes_any_more(cgroup: str, tmp_path: Path) -> None:
    stdout = tmp_path / "stdout"
    os.mkfifo(stdout)
    keeper = LogKeeper(tmp_path / "keeper.sock", LOG_KEEPER_COMMAND, nothing_followed, settler(cgroup))
    await keeper.start()
    pid = keeper.pid
    assert processes_in(cgroup) == {pid}
    await keeper.follow(Followed("c1", stdout, None, tmp_path / "log"))
    writer = os.open(stdout, os.O_WRONLY)
    (remark,) = await retire(cgroup)
    assert remark.startswith(f"log keeper {pid} writes on, containers: 1;")
    os.write(writer, b"the last\n")
    os.close(writer)
    assert await keeper.drained("c1", 10)
    await keeper.close()
    assert await retire(cgroup) == []
    assert (tmp_path / "log").read_bytes().endswith(b" stdout F the last\n")
    assert not any(path.exists() for path in directories_of(cgroup))


async def test_what_is_no_log_keeper_is_told_and_left_alone(cgroup: str) -> None:
    process = await asyncio.create_subprocess_exec("sleep", "100")
    enter(cgroup, process.pid)
    try:
        assert await retire(cgroup) == [f"process {process.pid} stays: it is no log keeper"]
    finally:
        process.kill()
        await process.wait()


async def test_a_keeper_that_cannot_be_moved_still_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("cri.linux.cgroup_places.directories_of", lambda _: [tmp_path / "file/below"])
    keeper = LogKeeper(tmp_path / "keeper.sock", LOG_KEEPER_COMMAND, nothing_followed, settler("/below"))
    await keeper.start()
    assert await keeper.statistics() == {}
    await keeper.shutdown()
