"""Containers: their life cycle, what is applied from the request and the image, what status tells."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from api.wire import criv1
from e2e.harness.catalogue import configured
from e2e.harness.cri import OWN_PID_NAMESPACE, refused
from e2e.harness.eventually import eventually
from e2e.harness.log_lines import joined
from e2e.harness.push import push

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.cri import Cri
    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

import pytest_asyncio

IGNORES_TERM = "trap '' TERM; echo ready; while :; do sleep 1000 & wait $!; done"


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads) -> Pod:
    return await workloads.pod()


@pytest_asyncio.fixture(loop_scope="session")
async def configured_image(node: Node) -> AsyncIterator[str]:
    """An image with entrypoint, environment, user and working directory, removed after the test."""
    reference = f"{node.registry.host}/e2e/configured:1"
    await push(node.registry, "e2e/configured", "1", configured())
    image = criv1.ImageSpec(image=reference)
    await node.cri.image.PullImage(criv1.PullImageRequest(image=image))
    yield reference
    await node.cri.image.RemoveImage(criv1.RemoveImageRequest(image=image))


async def listed(cri: Cri, **criteria: object) -> list[criv1.Container]:
    filters = criv1.ContainerFilter(**criteria)  # type: ignore[arg-type]
    answer = await cri.runtime.ListContainers(criv1.ListContainersRequest(filter=filters))
    return list(answer.containers)


async def inspected(container: Container) -> dict[str, object]:
    request = criv1.ContainerStatusRequest(container_id=container.id, verbose=True)
    answer = await container.cri.runtime.ContainerStatus(request)
    document: dict[str, object] = json.loads(answer.info["info"])
    return document


async def test_a_container_goes_from_created_to_running_to_exited(pod: Pod) -> None:
    before = time.time_ns()
    container = await pod.create(command=["sh", "-c", "sleep 0.3; exit 3"])
    created = await container.status()
    assert (created.state, created.started_at, created.finished_at) == (criv1.CONTAINER_CREATED, 0, 0)
    assert before <= created.created_at <= time.time_ns()
    await container.start()
    running = await container.status()
    assert (running.state, running.finished_at) == (criv1.CONTAINER_RUNNING, 0)
    assert created.created_at <= running.started_at <= time.time_ns()
    exited = await container.exited()
    assert (exited.exit_code, exited.reason) == (3, "Error")
    lived = (exited.finished_at - exited.started_at) / 1e9
    assert 0.25 < lived < 5, f"lived for {lived} s"


async def test_success_is_completed(pod: Pod) -> None:
    container = await pod.run(command=["true"])
    status = await container.exited()
    assert (status.exit_code, status.reason) == (0, "Completed")


async def test_a_signal_gives_128_and_its_number(workloads: Workloads) -> None:
    """In the pod's PID namespace: the first process of one of its own is spared its own signals."""
    pod = await workloads.pod(pid=criv1.POD)
    shared = criv1.LinuxContainerSecurityContext(namespace_options=criv1.NamespaceOption(pid=criv1.POD))
    container = await pod.run(command=["sh", "-c", "kill -9 $$"], security=shared)
    assert (await container.exited()).exit_code == 137


async def test_status_tells_what_was_asked_and_what_runs(pod: Pod, node: Node) -> None:
    labels, annotations = {"app": "web", "io.kubernetes.container.name": "main"}, {"note": "line 1\nline 2"}
    container = await pod.sleeper(labels=labels, annotations=annotations)
    status = await container.status()
    assert status.id == container.id
    assert status.metadata == container.config.metadata
    assert (dict(status.labels), dict(status.annotations)) == (labels, annotations)
    assert status.image.image == node.busybox
    assert status.image_ref, "the kubelet reads the digest here"
    assert status.log_path == str(container.log_file)
    image = (
        await node.cri.image.ImageStatus(criv1.ImageStatusRequest(image=criv1.ImageSpec(image=node.busybox)))
    ).image
    assert status.image_id in ("", image.id)
    info = await inspected(container)
    command_line = Path(f"/proc/{info['pid']}/cmdline")
    await eventually(
        lambda: asyncio.to_thread(command_line.read_bytes),
        lambda text: text.startswith(b"sh\0-c\0"),  # runc's own until it has given way to the program
        "the program in the place of runc",
        10,
    )
    assert "runtimeSpec" in info


async def test_lists_are_filtered_by_state_pod_label_and_id_together(pod: Pod, workloads: Workloads) -> None:
    cri = workloads.cri
    running = await pod.sleeper("running", labels={"tier": "front"})
    created = await pod.create("created", labels={"tier": "front"})
    done = await pod.run("done", command=["true"], labels={"tier": "back"})
    await done.exited()
    states = {item.id: item.state for item in await listed(cri, pod_sandbox_id=pod.id)}
    assert states == {
        running.id: criv1.CONTAINER_RUNNING,
        created.id: criv1.CONTAINER_CREATED,
        done.id: criv1.CONTAINER_EXITED,
    }
    exited = criv1.ContainerStateValue(state=criv1.CONTAINER_EXITED)
    assert [item.id for item in await listed(cri, pod_sandbox_id=pod.id, state=exited)] == [done.id]
    assert not await listed(cri, pod_sandbox_id=pod.id, state=exited, label_selector={"tier": "front"})
    assert [item.id for item in await listed(cri, id=running.id[:12])] == [running.id]
    assert not await listed(cri, pod_sandbox_id="no-such-sandbox")


async def test_stop_lets_the_container_end_within_its_grace(pod: Pod) -> None:
    container = await pod.run(
        command=["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 1000 & wait $!; done"]
    )
    await container.until_process("sleep 1000", runs=True)
    began = time.monotonic()
    await container.stop(grace_seconds=20)
    assert time.monotonic() - began < 10, "it ended when asked; nobody had to wait for the grace to pass"
    status = await container.status()
    assert (status.state, status.exit_code) == (criv1.CONTAINER_EXITED, 7)


async def test_stop_kills_after_the_grace(pod: Pod) -> None:
    container = await pod.run(command=["sh", "-c", IGNORES_TERM])
    began = time.monotonic()
    await container.stop(grace_seconds=1)
    assert 0.9 < time.monotonic() - began < 8
    assert (await container.status()).exit_code == 137


async def test_stop_without_grace_kills_at_once(pod: Pod) -> None:
    container = await pod.run(command=["sh", "-c", IGNORES_TERM])
    began = time.monotonic()
    await container.stop(grace_seconds=0)
    assert time.monotonic() - began < 5
    assert (await container.status()).exit_code == 137


async def test_stop_of_an_exited_or_created_container_succeeds(pod: Pod) -> None:
    container = await pod.run("done", command=["true"])
    await container.exited()
    await container.stop()
    await (await pod.create("created")).stop()


@pytest.mark.cri_shim_only
async def test_the_stop_signal_of_the_request_is_sent(pod: Pod) -> None:
    script = "trap 'exit 10' USR1; trap 'exit 15' TERM; while :; do sleep 1000 & wait $!; done"
    container = await pod.run(command=["sh", "-c", script], stop_signal=criv1.SIGUSR1)
    await container.until_process("sleep 1000", runs=True)
    await container.stop(grace_seconds=20)
    assert (await container.status()).exit_code == 10


async def test_the_stop_signal_of_the_image_is_sent(pod: Pod, configured_image: str) -> None:
    script = "trap 'exit 10' USR1; trap 'exit 15' TERM; echo ready; while :; do sleep 1000 & wait $!; done"
    container = await pod.run(image=configured_image, args=[script])
    await container.until_process("sleep 1000", runs=True)
    await container.stop(grace_seconds=20)
    assert (await container.status()).exit_code == 10


async def test_two_stops_at_once_both_wait_for_the_end(pod: Pod) -> None:
    container = await pod.run(command=["sh", "-c", IGNORES_TERM])
    await asyncio.gather(container.stop(grace_seconds=1), container.stop(grace_seconds=1))
    assert (await container.status()).state == criv1.CONTAINER_EXITED


async def test_remove_is_forced_and_can_be_repeated(pod: Pod) -> None:
    container = await pod.sleeper()
    await container.remove()
    await container.remove()
    async with refused(grpc.StatusCode.NOT_FOUND):
        await container.status()


async def test_starting_twice_is_refused(pod: Pod) -> None:
    container = await pod.sleeper()
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNKNOWN):
        await container.start()


async def test_a_program_that_is_missing_leaves_an_exited_container_with_the_reason(pod: Pod) -> None:
    container = await pod.create(command=["/no/such/program"])
    with pytest.raises(grpc.aio.AioRpcError, match="no/such/program"):
        await container.start()
    status = await container.status()
    assert status.state == criv1.CONTAINER_EXITED
    assert (status.exit_code, status.reason) == (128, "StartError")
    assert "no/such/program" in status.message


async def test_a_name_is_taken_until_its_container_is_removed(pod: Pod) -> None:
    container = await pod.create()
    async with refused(grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.UNKNOWN) as error:
        await pod.create()
    assert container.id in str(error[0].details())
    await container.remove()
    await pod.create()


async def test_a_container_needs_a_pod_and_an_image(pod: Pod, workloads: Workloads) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="no-such-image"):
        await pod.create(image="registry.invalid/no-such-image:1")
    gone = await workloads.pod("gone")
    await workloads.remove([gone])
    async with refused(grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNKNOWN):
        await gone.create()


async def test_command_arguments_environment_and_directory(pod: Pod) -> None:
    container = await pod.run(
        command=["sh", "-c"],
        args=['echo "$0|$1|$GREETING|$PWD"', "zero", "one two"],
        env={"GREETING": "hä llo", "EMPTY": ""},
        working_dir="/made/on/the/fly",
    )
    records = await container.settled_log()
    assert joined(records, "stdout") == ["zero|one two|hä llo|/made/on/the/fly".encode()]


async def test_the_image_gives_what_the_request_leaves_out(pod: Pod, configured_image: str) -> None:
    inherited = await pod.run("inherited", image=configured_image)
    overridden = await pod.run(
        "overridden",
        image=configured_image,
        args=['echo "$GREETING, $KEPT, $(id -u)"'],
        env={"GREETING": "bye"},
        security=criv1.LinuxContainerSecurityContext(run_as_user=criv1.Int64Value(value=33)),
    )
    assert joined(await inherited.settled_log(), "stdout") == [b"hello from tester in /work/place"]
    assert joined(await overridden.settled_log(), "stdout") == [b"bye, from image, 33"]


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        ({}, "uid=0(root) gid=0(root)"),
        ({"run_as_user": criv1.Int64Value(value=1000)}, "uid=1000(tester) gid=1000(tester)"),
        ({"run_as_username": "www-data"}, "uid=33(www-data) gid=33(www-data)"),
        (
            {"run_as_user": criv1.Int64Value(value=1000), "run_as_group": criv1.Int64Value(value=33)},
            "uid=1000(tester) gid=33(www-data)",
        ),
        ({"run_as_user": criv1.Int64Value(value=4711)}, "uid=4711 gid=0(root)"),
    ],
)
async def test_users_and_groups(pod: Pod, security: dict[str, object], expected: str) -> None:
    context = criv1.LinuxContainerSecurityContext(**security)  # type: ignore[arg-type]
    container = await pod.sleeper(security=context)
    assert (await container.output_of("id")).startswith(expected)


async def test_supplemental_groups_are_added(pod: Pod) -> None:
    context = criv1.LinuxContainerSecurityContext(
        run_as_user=criv1.Int64Value(value=1000), supplemental_groups=[1234]
    )
    container = await pod.sleeper(security=context)
    groups = set((await container.output_of("id -G")).split())
    assert {"1000", "1234", "50000"} <= groups, "the request's group and those of the image's /etc/group"


async def test_a_group_without_a_user_is_refused(pod: Pod) -> None:
    context = criv1.LinuxContainerSecurityContext(run_as_group=criv1.Int64Value(value=33))
    with pytest.raises(grpc.aio.AioRpcError):
        await pod.create(security=context)


async def test_mounts_readonly_and_writable(pod: Pod, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "file").write_text("content\n")
    container = await pod.sleeper(
        mounts=[
            criv1.Mount(container_path="/data", host_path=str(tmp_path / "data")),
            criv1.Mount(container_path="/fixed", host_path=str(tmp_path / "data"), readonly=True),
            criv1.Mount(container_path="/etc/one", host_path=str(tmp_path / "file"), readonly=True),
            criv1.Mount(container_path="/made", host_path=str(tmp_path / "made/by/server")),
        ]
    )
    await container.output_of("echo written > /data/note")
    assert (tmp_path / "data/note").read_text() == "written\n"
    assert await container.output_of("cat /fixed/note /etc/one") == "written\ncontent"
    assert (await container.execute("sh", "-c", "echo no > /fixed/note")).exit_code != 0
    assert (tmp_path / "made/by/server").is_dir(), "a missing host path is made, as a directory"
    assert {mount.container_path for mount in (await container.status()).mounts} >= {"/data", "/fixed"}


async def runc_version() -> tuple[int, int]:
    process = await asyncio.create_subprocess_exec("runc", "--version", stdout=asyncio.subprocess.PIPE)
    major, minor = (await process.communicate())[0].split()[2].split(b".")[:2]
    return int(major), int(minor)


async def test_mount_propagation(workloads: Workloads, tmp_path: Path) -> None:
    pod = await workloads.pod(privileged=True)
    process = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "top", tmp_path)
    assert await process.wait() == 0
    await (await asyncio.create_subprocess_exec("mount", "--make-shared", tmp_path)).wait()
    try:
        for name in ("private", "slave", "shared"):
            (tmp_path / name).mkdir()
        propagations = {
            "private": criv1.PROPAGATION_PRIVATE,
            "slave": criv1.PROPAGATION_HOST_TO_CONTAINER,
            "shared": criv1.PROPAGATION_BIDIRECTIONAL,
        }
        container = await pod.sleeper(
            security=criv1.LinuxContainerSecurityContext(privileged=True),
            mounts=[
                criv1.Mount(
                    container_path=f"/{name}", host_path=str(tmp_path / name), propagation=propagation
                )
                for name, propagation in propagations.items()
            ],
        )
        table = await container.output_of("cat /proc/self/mountinfo")
        options = {line.split()[4]: line.split(" - ")[0] for line in table.splitlines()}
        if await runc_version() < (
            1,
            2,
        ):  # later ones leave a private mount a peer of the shared ones beside it
            assert "shared:" not in options["/private"]
        assert "master:" not in options["/private"]
        assert "master:" in options["/slave"]
        assert "shared:" in options["/shared"]
        await container.stop()
    finally:
        await (await asyncio.create_subprocess_exec("umount", "--lazy", tmp_path)).wait()


async def test_resources_are_applied_told_and_updated(pod: Pod) -> None:
    resources = criv1.LinuxContainerResources(
        cpu_period=100_000,
        cpu_quota=50_000,
        cpu_shares=512,
        memory_limit_in_bytes=64 << 20,
        oom_score_adj=500,
    )
    container = await pod.sleeper(resources=resources)
    assert await container.output_of("cat /proc/1/oom_score_adj") == "500"
    process = (await inspected(container))["pid"]
    assert isinstance(process, int)
    assert cgroup_value(process, "memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert cgroup_value(process, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    update = criv1.LinuxContainerResources(
        memory_limit_in_bytes=96 << 20, cpu_quota=20_000, cpu_period=100_000
    )
    await container.cri.runtime.UpdateContainerResources(
        criv1.UpdateContainerResourcesRequest(container_id=container.id, linux=update)
    )
    assert cgroup_value(process, "memory", "memory.limit_in_bytes", "memory.max") == str(96 << 20)
    assert cgroup_value(process, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "20000"
    told = (await container.status()).resources.linux
    assert told.memory_limit_in_bytes == 96 << 20
    assert told.cpu_shares == 512, "what an update leaves out stays as it was"


def cgroup_value(process: int, controller: str, first: str, second: str) -> str:
    """A control file of a process's cgroup, by its name in version 1 or in version 2."""
    for line in Path(f"/proc/{process}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return Path(f"/sys/fs/cgroup/{controller}{path}", first).read_text().strip()
    unified = Path(f"/proc/{process}/cgroup").read_text().split("::")[1].strip()
    return Path(f"/sys/fs/cgroup{unified}", second).read_text().strip()


async def test_running_out_of_memory_is_told(pod: Pod) -> None:
    resources = criv1.LinuxContainerResources(memory_limit_in_bytes=20 << 20)
    script = "dd if=/dev/zero of=/dev/null bs=100M count=1"
    container = await pod.run(command=["sh", "-c", f"exec {script}"], resources=resources)
    status = await container.exited()
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


async def test_capabilities_are_those_asked_for(pod: Pod) -> None:
    capabilities = criv1.Capability(add_capabilities=["NET_ADMIN"], drop_capabilities=["CHOWN"])
    context = criv1.LinuxContainerSecurityContext(
        capabilities=capabilities, namespace_options=OWN_PID_NAMESPACE
    )
    container = await pod.sleeper(security=context)
    effective = int((await container.output_of("grep CapEff /proc/self/status")).split()[1], 16)
    assert effective >> 12 & 1, "CAP_NET_ADMIN was added"
    assert not effective & 1, "CAP_CHOWN was dropped"


async def test_a_readonly_root_filesystem(pod: Pod) -> None:
    context = criv1.LinuxContainerSecurityContext(readonly_rootfs=True)
    container = await pod.sleeper(security=context)
    assert (await container.execute("touch", "/note")).exit_code != 0


async def test_a_privileged_container_may_mount_and_sees_the_hosts_devices(workloads: Workloads) -> None:
    pod = await workloads.pod(privileged=True)
    context = criv1.LinuxContainerSecurityContext(privileged=True, namespace_options=OWN_PID_NAMESPACE)
    privileged, plain = await pod.sleeper("privileged", security=context), await pod.sleeper("plain")
    mount = ("mount", "-t", "tmpfs", "none", "/tmp")
    assert (await privileged.execute(*mount)).exit_code == 0
    assert (await plain.execute(*mount)).exit_code != 0
    assert await privileged.output_of("test -e /dev/kmsg && echo there") == "there"
    assert (await plain.execute("test", "-e", "/dev/kmsg")).exit_code != 0


async def test_a_privileged_container_needs_a_privileged_pod(pod: Pod) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="privileged"):
        await pod.create(security=criv1.LinuxContainerSecurityContext(privileged=True))


async def test_devices_are_made_in_the_container(pod: Pod) -> None:
    device = criv1.Device(container_path="/dev/nothing", host_path="/dev/null", permissions="rw")
    container = await pod.sleeper(devices=[device])
    assert await container.output_of("stat -c %F /dev/nothing") == "character special file"
    assert await container.output_of("echo x > /dev/nothing && echo written") == "written"


async def test_standard_input_stays_open_without_an_attacher(pod: Pod) -> None:
    container = await pod.run(command=["sh", "-c", "read line; echo got it"], stdin=True)
    await asyncio.sleep(0.2)
    assert (await container.status()).state == criv1.CONTAINER_RUNNING
    without = await pod.run("without", command=["sh", "-c", "read line || echo end of file"])
    assert (await without.exited()).exit_code == 0


async def test_masked_and_readonly_paths(pod: Pod) -> None:
    context = criv1.LinuxContainerSecurityContext(
        masked_paths=["/bin/hostid"], readonly_paths=["/tmp"], namespace_options=OWN_PID_NAMESPACE
    )
    container = await pod.sleeper(security=context)
    assert (await container.execute("touch", "/tmp/note")).exit_code != 0
    assert await container.output_of("wc -c < /bin/hostid") == "0"
