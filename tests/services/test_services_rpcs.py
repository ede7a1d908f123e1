"""The servicers over a real socket: every RPC answers, errors have the right codes."""

from __future__ import annotations

import json

import grpc
import grpc.aio
import pytest

from api.cri import CriClient
from api.wire import criv1
from api.wire.criv1 import image_service_pb2, runtime_service_pb2
from tests.double.containerd import until
from tests.node import IMAGE, DoubleNode

SERVICES = (runtime_service_pb2.DESCRIPTOR, image_service_pb2.DESCRIPTOR)
METHODS = [
    method
    for file in SERVICES
    for service in file.services_by_name.values()
    for method in service.methods
    if method.name != "GetContainerEvents"  # never ends by itself; its own tests read from it
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_every_rpc_is_registered_and_never_answers_unknown(cri: CriClient, method):
    stub = cri.image if method.containing_service.name == "ImageService" else cri.runtime
    request = getattr(criv1, method.input_type.name)()
    call = getattr(stub, method.name)(request, timeout=20)
    code, details = await outcome(call, streaming=method.server_streaming)
    assert code not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL), details
    assert code is grpc.StatusCode.OK or details, "an error says what is wrong"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        assert method.name in details


async def outcome(call, *, streaming: bool) -> tuple[grpc.StatusCode, str]:
    try:
        if streaming:
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code(), str(error.details())
    return grpc.StatusCode.OK, ""


async def test_version_is_what_kubelet_accepts(cri: CriClient):
    answer = await cri.runtime.Version(criv1.VersionRequest(version="0.1.0"))
    assert (answer.version, answer.runtime_name, answer.runtime_api_version) == ("0.1.0", "containerd", "v1")
    assert answer.runtime_version == "1.6.20+cri-shim.0.1.0"


async def test_status_has_both_conditions_and_the_default_handler_under_its_empty_name(cri: CriClient):
    answer = await cri.runtime.Status(criv1.StatusRequest(verbose=True))
    conditions = {condition.type: condition.status for condition in answer.status.conditions}
    assert conditions["RuntimeReady"]
    assert conditions["NetworkReady"]
    assert [handler.name for handler in answer.runtime_handlers] == ["", "runc"]
    assert "config" in answer.info


async def test_containerd_away_is_told_and_overcome(node: DoubleNode, cri: CriClient):
    await node.containerd.stop()
    await until(lambda: not node.observer.connected.is_set())
    answer = await cri.runtime.Status(criv1.StatusRequest())
    condition = next(found for found in answer.status.conditions if found.type == "RuntimeReady")
    assert not condition.status
    assert node.containerd.address in condition.message
    request = criv1.RunPodSandboxRequest(config=node.pod_config())
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE") as caught:
        await cri.runtime.RunPodSandbox(request)
    assert node.containerd.address in str(caught.value.details())
    await node.containerd.start()
    await node.observer.connected.wait()
    assert (await cri.runtime.RunPodSandbox(request)).pod_sandbox_id


async def test_runtime_config_names_the_driver(cri: CriClient):
    answer = await cri.runtime.RuntimeConfig(criv1.RuntimeConfigRequest())
    assert answer.HasField("linux")
    assert answer.linux.cgroup_driver == criv1.CGROUPFS


async def test_codes(node: DoubleNode, cri: CriClient):
    with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
        await cri.runtime.PodSandboxStatus(criv1.PodSandboxStatusRequest(pod_sandbox_id="nope"))
    with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT"):
        await cri.runtime.RunPodSandbox(criv1.RunPodSandboxRequest())
    await cri.runtime.StopPodSandbox(criv1.StopPodSandboxRequest(pod_sandbox_id="nope"))
    await cri.runtime.RemoveContainer(criv1.RemoveContainerRequest(container_id="nope"))


async def test_labels_and_annotations_come_back_byte_identical(node: DoubleNode, cri: CriClient):
    odd = {"": "empty key", "long": "x" * 5000, "ümläut": "\n\t", "io.kubernetes.pod.name": "web"}
    config = node.pod_config(labels=odd, annotations=odd)
    pod = (await cri.runtime.RunPodSandbox(criv1.RunPodSandboxRequest(config=config))).pod_sandbox_id
    status = (await cri.runtime.PodSandboxStatus(criv1.PodSandboxStatusRequest(pod_sandbox_id=pod))).status
    assert dict(status.labels) == dict(status.annotations) == odd
    created = node.container_config(labels=odd, annotations=odd)
    request = criv1.CreateContainerRequest(pod_sandbox_id=pod, config=created, sandbox_config=config)
    container = (await cri.runtime.CreateContainer(request)).container_id
    found = (await cri.runtime.ContainerStatus(criv1.ContainerStatusRequest(container_id=container))).status
    assert dict(found.labels) == dict(found.annotations) == odd


async def test_the_verbose_status_of_a_container_has_its_log_counters(node: DoubleNode, cri: CriClient):
    _, container = await node.running()
    request = criv1.ContainerStatusRequest(container_id=container, verbose=True)
    assert json.loads((await cri.runtime.ContainerStatus(request)).info["log"])["bytes"] == 17
    await cri.runtime.StopContainer(criv1.StopContainerRequest(container_id=container))
    assert json.loads((await cri.runtime.ContainerStatus(request)).info["log"]) == {}, "followed no longer"


async def test_an_unknown_image_is_an_empty_answer(cri: CriClient):
    answer = await cri.image.ImageStatus(criv1.ImageStatusRequest(image=criv1.ImageSpec(image="nope:1")))
    assert not answer.HasField("image")
    listed = await cri.image.ListImages(criv1.ListImagesRequest())
    assert [list(image.repo_tags) for image in listed.images] == [[IMAGE]]
