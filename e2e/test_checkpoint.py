"""Checkpoints of running containers, where criu works; clear refusals everywhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.cri import refused

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.workload import Container, Pod, Workloads

pytestmark = pytest.mark.cri_shim_only


def criu_works() -> bool:
    return (
        bool(shutil.which("criu")) and not subprocess.run(["criu", "check"], capture_output=True).returncode
    )


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads) -> Pod:
    return await workloads.pod()


async def checkpoint(container: Container, location: Path | str, timeout_seconds: int = 0) -> None:
    request = criv1.CheckpointContainerRequest(
        container_id=container.id, location=str(location), timeout=timeout_seconds
    )
    await container.cri.runtime.CheckpointContainer(request)


@pytest.mark.skipif(not criu_works(), reason="criu is missing, or does not know this kernel")
async def test_a_checkpoint_has_processes_and_changed_files(pod: Pod, tmp_path: Path) -> None:
    beat = "count=0; while :; do count=$((count+1)); echo $count > /beat; sleep 0.1; done"
    script = f"echo begun; echo changed > /made; {beat}"
    container = await pod.run(command=["sh", "-c", script])
    await container.until_process("sleep 0.1", runs=True)
    await checkpoint(container, tmp_path / "one.tar")
    with tarfile.open(tmp_path / "one.tar") as archive:
        names = set(archive.getnames())
        assert {"config.dump", "spec.dump", "status.dump", "container.log", "rootfs-diff.tar"} <= names
        assert any(name.startswith("checkpoint/core-") for name in names)
        config = json.load(archive.extractfile("config.dump"))
        assert config["id"] == container.id
        with tarfile.open(fileobj=archive.extractfile("rootfs-diff.tar")) as changed:
            assert changed.extractfile("made").read() == b"changed\n"
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["one.tar"]
    assert (await container.status()).state == criv1.CONTAINER_RUNNING
    before = await container.output_of("cat /beat")
    await container.output_of("sleep 0.5")
    assert await container.output_of("cat /beat") != before, "it runs on"


@pytest.mark.skipif(criu_works(), reason="for hosts where criu is missing or does not work")
async def test_what_keeps_a_checkpoint_from_being_made_is_told(pod: Pod, tmp_path: Path) -> None:
    container = await pod.sleeper()
    async with refused(grpc.StatusCode.FAILED_PRECONDITION) as error:
        await checkpoint(container, tmp_path / "one.tar")
    assert "criu" in str(error[0].details())
    assert not (tmp_path / "one.tar").exists()
    assert await container.output_of("echo runs on") == "runs on"


async def test_impossible_checkpoints_are_refused(pod: Pod, tmp_path: Path) -> None:
    running, created = await pod.sleeper("running"), await pod.create("created")
    for location in ("", "relative.tar", str(tmp_path), str(tmp_path / "no" / "directory.tar")):
        async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
            await checkpoint(running, location)
        assert "location" in str(error[0].details())
    async with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await checkpoint(running, tmp_path / "one.tar", timeout_seconds=-1)
    async with refused(grpc.StatusCode.FAILED_PRECONDITION):
        await checkpoint(created, tmp_path / "one.tar")
