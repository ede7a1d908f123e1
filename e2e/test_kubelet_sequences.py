"""What the kubelet does with pods, call by call, in its own order: the server must take it as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import grpc
import pytest

from api.wire import criv1
from e2e.harness.cgroup import control_value, process_of
from e2e.harness.cri import refused
from e2e.harness.eventually import eventually
from e2e.harness.log_lines import joined, log_lines
from e2e.harness.reboot import reboot

if TYPE_CHECKING:
    from e2e.harness.cri import Cri
    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

MIB = 1 << 20
SLEEP = ["sleep", "1000"]
TERMINABLE = ["sh", "-c", "trap 'echo asked to end; exit 0' TERM; while :; do sleep 1000 & wait $!; done"]


async def restarted(pod: Pod, earlier: Container, **settings: object) -> Container:
    """The next attempt of a container: a new one of the same name, beside the dead one."""
    metadata = earlier.config.metadata
    return await pod.run(metadata.name, attempt=metadata.attempt + 1, **settings)


async def states(pod: Pod) -> dict[tuple[str, int], criv1.ContainerState.ValueType]:
    """What a relist sees of one pod."""
    request = criv1.ListContainersRequest(filter=criv1.ContainerFilter(pod_sandbox_id=pod.id))
    listed = (await pod.cri.runtime.ListContainers(request)).containers
    return {(each.metadata.name, each.metadata.attempt): each.state for each in listed}


async def test_init_containers_run_one_after_the_other_before_sidecar_and_main(workloads: Workloads) -> None:
    pod = await workloads.pod()
    for number in (1, 2):
        step = await pod.run(f"init-{number}", command=["sh", "-c", f"echo step {number}"])
        assert (await step.exited()).exit_code == 0
        assert joined(await step.settled_log(), "stdout") == [f"step {number}".encode()]
    # A sidecar is an init container that goes on: it is up before the main container starts, and ends last.
    sidecar = await pod.run("sidecar", command=TERMINABLE)
    main = await pod.run("main", command=TERMINABLE)
    for container in (sidecar, main):
        # Not before its trap is set: the first process of a PID namespace ignores a signal that it does not handle.
        await container.until_process("sleep 1000", runs=True)
    assert set((await states(pod)).values()) == {criv1.CONTAINER_EXITED, criv1.CONTAINER_RUNNING}
    await main.stop(grace_seconds=5)
    assert (await sidecar.status()).state == criv1.CONTAINER_RUNNING
    await sidecar.stop(grace_seconds=5)
    for container in (main, sidecar):
        assert (await container.status()).exit_code == 0
        assert joined(await container.settled_log(), "stdout") == [b"asked to end"]


async def test_a_crash_loop_leaves_one_dead_container_for_the_logs(workloads: Workloads) -> None:
    pod = await workloads.pod()
    container = await pod.run(command=["sh", "-c", "echo attempt 0; exit 1"])
    for attempt in range(1, 4):
        ended = await container.exited()
        assert (ended.exit_code, ended.reason) == (1, "Error")
        previous, container = (
            container,
            await restarted(pod, container, command=["sh", "-c", f"echo attempt {attempt}; exit 1"]),
        )
        # `kubectl logs --previous` reads this one; the garbage collection of containers takes the older ones.
        assert joined(await previous.settled_log(), "stdout") == [f"attempt {attempt - 1}".encode()]
        for old in range(attempt - 1):
            assert ("main", old) not in await states(pod)
        await previous.remove()
    await container.exited()
    assert await states(pod) == {("main", 3): criv1.CONTAINER_EXITED}


async def test_probes_by_command_and_by_connection(workloads: Workloads) -> None:
    pod = await workloads.pod()
    script = "mkdir /www; echo well > /www/healthz; (httpd -p 8080 -h /www); touch /ready; sleep 1000"
    container = await pod.run(command=["sh", "-c", script])

    async def ready() -> int:
        return (await container.execute("cat", "/ready", timeout_seconds=1)).exit_code

    await eventually(ready, lambda code: code == 0, "readiness")
    reader, writer = await asyncio.open_connection(await pod.address(), 8080)
    writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (await reader.read()).endswith(b"well\n")
    writer.close()
    assert (await container.execute("sh", "-c", "exit 3")).exit_code == 3
    async with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        await container.execute("sleep", "60", timeout_seconds=1)
    await container.until_process("sleep 60", runs=False)


async def test_pre_stop_hook_then_grace_then_kill(workloads: Workloads) -> None:
    pod = await workloads.pod()
    script = "trap 'echo term' TERM; while :; do [ -e /stopping ] && echo hook seen && rm /stopping; sleep 0.05; done"
    container = await pod.run(command=["sh", "-c", script])
    assert (await container.execute("touch", "/stopping")).exit_code == 0

    async def seen() -> list[bytes]:
        return joined(log_lines(container.log_file), "stdout")

    await eventually(seen, lambda lines: b"hook seen" in lines, "the hook's effect")
    await container.stop(grace_seconds=1)
    ended = await container.status()
    assert (ended.state, ended.exit_code) == (criv1.CONTAINER_EXITED, 137)
    assert joined(await container.settled_log(), "stdout") == [b"hook seen", b"term"]


async def test_an_oom_kill_is_told_and_the_container_restarted(workloads: Workloads) -> None:
    pod = await workloads.pod()
    limits = criv1.LinuxContainerResources(memory_limit_in_bytes=16 * MIB)
    # Not the shell but its own memory: the limit kills the process itself.
    command = ["sh", "-c", "exec tail -c 100m /dev/zero"]
    container = await pod.run(command=command, resources=limits)
    ended = await container.exited()
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")
    again = await restarted(pod, container, command=SLEEP, resources=limits)
    assert (await again.status()).state == criv1.CONTAINER_RUNNING


async def test_an_evicted_pod_is_killed_and_its_records_stay_until_removed(workloads: Workloads) -> None:
    pod = await workloads.pod()
    containers = [await pod.run(f"c{number}", command=SLEEP) for number in range(3)]
    await asyncio.gather(*(container.stop(grace_seconds=0) for container in containers))
    await pod.stop()
    assert (await pod.status()).state == criv1.SANDBOX_NOTREADY
    assert set((await states(pod)).values()) == {criv1.CONTAINER_EXITED}
    for container in containers:
        assert (await container.status()).exit_code == 137
        await container.remove()
    assert await states(pod) == {}
    assert [
        each.id for each in (await pod.cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())).items
    ] == [pod.id]


async def test_logs_rotate_under_load_without_a_lost_line(workloads: Workloads) -> None:
    pod = await workloads.pod()
    script = "number=0; while [ $number -lt 60000 ]; do number=$((number + 1)); echo $number; done"
    container = await pod.run(command=["sh", "-c", script])
    files = []
    for number in range(4):
        await eventually(_size(container), lambda size: size > 20_000, "some output")
        # The kubelet renames, then asks for a new file.
        rotated = container.log_file.with_name(f"{container.log_file.name}.2026010{number}")
        container.log_file.rename(rotated)
        await pod.cri.runtime.ReopenContainerLog(criv1.ReopenContainerLogRequest(container_id=container.id))
        assert container.log_file.exists()
        files.append(rotated)
        if (await container.status()).state == criv1.CONTAINER_EXITED:
            break
    await container.settled_log()
    files.append(container.log_file)
    numbers = [int(line) for file in files for line in joined(log_lines(file), "stdout")]
    assert numbers == list(range(1, 60001))


def _size(container: Container):
    async def size() -> int:
        exited = (await container.status()).state == criv1.CONTAINER_EXITED
        return 1 << 30 if exited else container.log_file.stat().st_size

    return size


@pytest.mark.cri_shim_only
async def test_image_garbage_collection_spares_pinned_and_used_images(
    node: Node, workloads: Workloads
) -> None:
    """The kubelet deletes what no container uses and what is not pinned; asked all the same, the server obeys."""
    await (await workloads.pod()).run(command=SLEEP)
    images = (await node.cri.image.ListImages(criv1.ListImagesRequest())).images
    pinned = {name for image in images if image.pinned for name in image.repo_tags}
    assert node.settings.sandbox_image in pinned
    assert node.busybox not in pinned
    used = (await node.cri.runtime.ListContainers(criv1.ListContainersRequest())).containers[0]
    assert used.image_id in {image.id for image in images}
    filesystems = (await node.cri.image.ImageFsInfo(criv1.ImageFsInfoRequest())).image_filesystems
    assert filesystems[0].used_bytes.value > 0


async def test_a_relist_each_moment_agrees_with_the_events(cri: Cri, workloads: Workloads) -> None:
    """Both PLEGs at once: the generic one lists pods and containers, the evented one listens."""
    stream = cri.runtime.GetContainerEvents(criv1.GetEventsRequest())
    heard: list[tuple[str, criv1.ContainerEventType.ValueType]] = []

    async def listen() -> None:
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            async for event in stream:
                heard.append((event.container_id, event.container_event_type))  # noqa: PERF401 - each is read while others come

    async with asyncio.TaskGroup() as group:
        listener = group.create_task(listen())
        pod = await workloads.pod()
        container = await pod.create(command=["sh", "-c", "sleep 0.3"])
        history = []
        await container.start()
        async with asyncio.timeout(15):
            while not history or history[-1] != criv1.CONTAINER_EXITED:
                pods, containers = await asyncio.gather(
                    cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest()),
                    cri.runtime.ListContainers(criv1.ListContainersRequest()),
                )
                assert [each.id for each in pods.items] == [pod.id]
                history += [each.state for each in containers.containers if each.id == container.id]
                await asyncio.sleep(0.05)

        async def types() -> list[criv1.ContainerEventType.ValueType]:
            return [kind for identifier, kind in heard if identifier == container.id]

        await eventually(types, lambda seen: criv1.CONTAINER_STOPPED_EVENT in seen, "the stopped event")
        assert await types() == [
            criv1.CONTAINER_CREATED_EVENT,
            criv1.CONTAINER_STARTED_EVENT,
            criv1.CONTAINER_STOPPED_EVENT,
        ]
        stream.cancel()
        listener.cancel()
    assert [state for state, _ in itertools.groupby(history)] == [
        criv1.CONTAINER_RUNNING,
        criv1.CONTAINER_EXITED,
    ]


async def test_a_restarted_kubelet_finds_everything_as_it_left_it(cri: Cri, workloads: Workloads) -> None:
    """It lists, asks the status of each, and does nothing else: nothing may change by that."""
    pods = [await workloads.pod(f"pod-{number}", labels={"app": f"{number}"}) for number in range(3)]
    containers = [await pod.run(command=SLEEP, annotations={"hash": pod.id[:8]}) for pod in pods]
    before = [await container.status() for container in containers]
    listed = (await cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())).items
    assert {each.labels["app"] for each in listed} == {"0", "1", "2"}
    assert [await container.status() for container in containers] == before
    assert {status.annotations["hash"] for status in before} == {pod.id[:8] for pod in pods}


@pytest.mark.cri_shim_only
async def test_after_a_reboot_pods_are_made_anew_beside_the_dead(node: Node, workloads: Workloads) -> None:
    """A reboot takes processes, mounts and namespaces; records, images and logs stay."""
    pod = await workloads.pod("rebooted")
    container = await pod.run(command=["sh", "-c", "echo before; sleep 1000"])

    async def written() -> bool:
        return container.log_file.exists() and b"before" in container.log_file.read_bytes()

    await eventually(written, bool, "the log line")
    await node.server.kill()
    await reboot(node, [pod], [container])
    await node.server.start()
    ended = await container.exited()
    assert ended.exit_code in (137, 255), ended
    assert (await pod.status()).state == criv1.SANDBOX_NOTREADY
    # The kubelet stops the dead sandbox, makes the next attempt, and removes the old one later.
    await pod.stop()
    config = criv1.PodSandboxConfig()
    config.CopyFrom(pod.config)
    config.metadata.attempt = 1
    anew = await workloads.pod_as(config)
    assert await anew.address()
    assert (await (await anew.sleeper("main", attempt=1)).status()).state == criv1.CONTAINER_RUNNING
    assert b"before" in container.log_file.read_bytes()


@pytest.mark.cri_shim_only
async def test_a_pod_is_resized_in_place(workloads: Workloads) -> None:
    """First the pod's limits grow, then the container's; shrinking goes the other way round."""
    pod = await workloads.pod()
    container = await pod.run(
        command=SLEEP, resources=criv1.LinuxContainerResources(memory_limit_in_bytes=32 * MIB, cpu_shares=256)
    )
    process = await process_of(container)
    for limit in (64, 40):
        limits = criv1.LinuxContainerResources(memory_limit_in_bytes=limit * MIB, cpu_shares=512)
        await pod.cri.runtime.UpdateContainerResources(
            criv1.UpdateContainerResourcesRequest(container_id=container.id, linux=limits)
        )
        status = await container.status()
        assert status.resources.linux.memory_limit_in_bytes == limit * MIB
        assert control_value(process, "memory", "memory.limit_in_bytes", "memory.max") == str(limit * MIB)
    assert (await container.status()).state == criv1.CONTAINER_RUNNING
