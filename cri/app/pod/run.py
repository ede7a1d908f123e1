"""Running a pod: images, sandbox, init containers, containers, each step shown with its time while it happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from api.wire import criv1 as cri
from cri.app.pod.manifest import etc_hosts
from cri.app.pod.node import SANDBOX_SECONDS, Node
from cri.app.pod.plan import POD_NAME, POD_NAMESPACE, ContainerPlan, PodPlan
from cri.app.pod.remove import remove_sandbox
from cri.concurrency.undo import UndoStack
from cri.errors import AlreadyExists, FailedPrecondition, NotFound

if TYPE_CHECKING:
    from cri.app.pod.steps import Steps

POLL_SECONDS = 0.1
DIRECTORY_MODE = 0o755


async def run_pod(node: Node, pod: PodPlan, steps: Steps, *, keep: bool = False) -> str:
    """Start the pod and return its sandbox's id; what was made is taken back if a step fails, unless `keep`.

    Raises AlreadyExists for a pod of the same name, FailedPrecondition when an init container fails, and
    whatever the server says.
    """
    await _refuse_namesake(node, pod)
    for image, policy in pod.images:
        await _image(node, pod, image, policy, steps)
    async with UndoStack(f"pod run {pod.name}") as undo:
        if not keep:
            undo.push(
                "remove the pod's directory", lambda: remove_sandbox(node, "", str(pod.paths.directory))
            )
        await asyncio.to_thread(_make_directories, pod)
        async with steps.step(f"sandbox {pod.namespace}/{pod.name}") as step:
            sandbox_id = await _sandbox(node, pod)
            if not keep:
                undo.push("remove the sandbox", lambda: remove_sandbox(node, sandbox_id, ""))
            addresses = await node.pod_addresses(sandbox_id)
            step.result = " ".join(addresses) or "on the host's network"
        await asyncio.to_thread(_write_hosts, pod, addresses)
        for container in pod.init_containers:
            await _init_container(node, pod, sandbox_id, container, steps)
        for container in pod.containers:
            await _start(node, pod, sandbox_id, container, steps)
    return sandbox_id


async def _refuse_namesake(node: Node, pod: PodPlan) -> None:
    for other in await node.pods({POD_NAME: pod.name, POD_NAMESPACE: pod.namespace}):
        raise AlreadyExists(
            f'there is a pod "{pod.name}" in namespace "{pod.namespace}" already (sandbox {other.id[:13]}); '
            f"remove it with `cri-shim pod rm -n {pod.namespace} {pod.name}`"
        )


async def _image(node: Node, pod: PodPlan, image: str, policy: str, steps: Steps) -> None:
    async with steps.step(f"image {image}") as step:
        spec = cri.ImageSpec(image=image, user_specified_image=image, runtime_handler=pod.runtime_handler)
        answer = await node.call(node.client.image.ImageStatus, cri.ImageStatusRequest(image=spec))
        if answer.HasField("image") and policy != "Always":
            step.result = f"present, {_size(answer.image.size)}"
            return
        if policy == "Never":
            raise NotFound(f"image {image} is absent and its imagePullPolicy is Never")
        request = cri.PullImageRequest(image=spec, sandbox_config=pod.sandbox)
        await node.call(node.client.image.PullImage, request, None)
        answer = await node.call(node.client.image.ImageStatus, cri.ImageStatusRequest(image=spec))
        step.result = f"pulled, {_size(answer.image.size)}"


async def _sandbox(node: Node, pod: PodPlan) -> str:
    request = cri.RunPodSandboxRequest(config=pod.sandbox, runtime_handler=pod.runtime_handler)
    return (await node.call(node.client.runtime.RunPodSandbox, request, SANDBOX_SECONDS)).pod_sandbox_id


async def _start(node: Node, pod: PodPlan, sandbox_id: str, container: ContainerPlan, steps: Steps) -> str:
    async with steps.step(f"create {container.name}"):
        request = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox_id, config=container.config, sandbox_config=pod.sandbox
        )
        container_id = (await node.call(node.client.runtime.CreateContainer, request)).container_id
    async with steps.step(f"start {container.name}") as step:
        await node.call(
            node.client.runtime.StartContainer, cri.StartContainerRequest(container_id=container_id)
        )
        step.result = container_id[:13]
    return container_id


async def _init_container(
    node: Node, pod: PodPlan, sandbox_id: str, container: ContainerPlan, steps: Steps
) -> None:
    container_id = await _start(node, pod, sandbox_id, container, steps)
    async with steps.step(f"init container {container.name} runs") as step:
        status = await node.container_status(container_id)
        while status.state != cri.CONTAINER_EXITED:
            await asyncio.sleep(POLL_SECONDS)
            status = await node.container_status(container_id)
        step.result = f"exit code {status.exit_code}"
        if status.exit_code != 0:
            raise FailedPrecondition(
                f"init container {container.name} ended with exit code {status.exit_code}"
                + (f" ({status.reason})" if status.reason else "")
                + "; `pod run --keep` leaves it there for `pod logs`"
            )


def _make_directories(pod: PodPlan) -> None:
    pod.paths.directory.mkdir(parents=True, mode=DIRECTORY_MODE)
    for container in (*pod.init_containers, *pod.containers):
        (pod.paths.logs / container.name).mkdir(parents=True, exist_ok=True)
    for wanted in pod.directories:
        if not wanted.path.is_dir():
            wanted.path.mkdir(parents=True)
            wanted.path.chmod(wanted.mode)  # mkdir's own mode is cut by the umask
    pod.paths.etc_hosts.touch()


def _write_hosts(pod: PodPlan, addresses: list[str]) -> None:
    pod.paths.etc_hosts.write_text(etc_hosts(pod, addresses[0] if addresses else "127.0.0.1"))


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
