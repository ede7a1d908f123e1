"""The runtime as a whole: what it says of itself, and how it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import pytest

from api.wire import criv1
from e2e.harness.cri import refused
from e2e.harness.eventually import eventually

if TYPE_CHECKING:
    from e2e.harness.cri import Cri
    from e2e.harness.node import Node


async def test_version_has_what_the_kubelet_demands(cri: Cri) -> None:
    version = await cri.runtime.Version(criv1.VersionRequest(version="0.1.0"))
    assert version.version == "0.1.0"
    assert version.runtime_name == "containerd"
    assert version.runtime_version
    assert version.runtime_api_version == "v1"


async def test_status_has_both_conditions_true(cri: Cri) -> None:
    status = (await cri.runtime.Status(criv1.StatusRequest())).status
    conditions = {condition.type: condition for condition in status.conditions}
    assert conditions["RuntimeReady"].status, conditions["RuntimeReady"]
    assert conditions["NetworkReady"].status, conditions["NetworkReady"]


async def test_verbose_status_is_json_and_names_the_pod_network(cri: Cri, node: Node) -> None:
    answer = await cri.runtime.Status(criv1.StatusRequest(verbose=True))
    assert answer.info, "a verbose status carries info"
    assert f"cri-shim-{node.containerd.layout.fingerprint}" in str(dict(answer.info))
    json.loads(answer.info["config"])
    assert not (await cri.runtime.Status(criv1.StatusRequest())).info, "info only when asked for"


@pytest.mark.cri_shim_only
async def test_the_handlers_are_listed_with_the_default_one_unnamed(cri: Cri) -> None:
    answer = await cri.runtime.Status(criv1.StatusRequest())
    assert {"", "runc"} <= {handler.name for handler in answer.runtime_handlers}


@pytest.mark.cri_shim_only
async def test_runtime_config_tells_the_cgroup_driver(cri: Cri) -> None:
    answer = await cri.runtime.RuntimeConfig(criv1.RuntimeConfigRequest())
    assert answer.HasField("linux")
    assert answer.linux.cgroup_driver == criv1.CGROUPFS, "no handler has SystemdCgroup, no systemd runs here"


async def test_pod_cidr_updates_succeed(cri: Cri) -> None:
    for cidr in ("", "10.1.0.0/16", "10.1.0.0/16,fd00::/64"):
        network = criv1.NetworkConfig(pod_cidr=cidr)
        await cri.runtime.UpdateRuntimeConfig(
            criv1.UpdateRuntimeConfigRequest(runtime_config=criv1.RuntimeConfig(network_config=network))
        )


@pytest.mark.cri_shim_only
async def test_missing_fields_are_named(cri: Cri) -> None:
    runtime = cri.runtime
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await runtime.RunPodSandbox(criv1.RunPodSandboxRequest())
    assert "config" in str(error[0].details())
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await runtime.RunPodSandbox(criv1.RunPodSandboxRequest(config=criv1.PodSandboxConfig()))
    assert "metadata" in str(error[0].details())
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await runtime.ExecSync(criv1.ExecSyncRequest(cmd=["true"]))
    assert "container_id" in str(error[0].details())


async def test_unknown_ids_are_not_found(cri: Cri) -> None:
    runtime = cri.runtime
    async with refused(grpc.StatusCode.NOT_FOUND):
        await runtime.PodSandboxStatus(criv1.PodSandboxStatusRequest(pod_sandbox_id="no-such-sandbox"))
    async with refused(grpc.StatusCode.NOT_FOUND):
        await runtime.ContainerStatus(criv1.ContainerStatusRequest(container_id="no-such-container"))
    async with refused(grpc.StatusCode.NOT_FOUND):
        await runtime.ExecSync(criv1.ExecSyncRequest(container_id="no-such-container", cmd=["true"]))
    async with refused(grpc.StatusCode.NOT_FOUND):
        await runtime.StartContainer(criv1.StartContainerRequest(container_id="no-such-container"))


@pytest.mark.cri_shim_only
async def test_stopping_and_removing_the_unknown_succeeds(cri: Cri) -> None:
    runtime = cri.runtime
    await runtime.StopContainer(criv1.StopContainerRequest(container_id="no-such-container"))
    await runtime.RemoveContainer(criv1.RemoveContainerRequest(container_id="no-such-container"))
    await runtime.StopPodSandbox(criv1.StopPodSandboxRequest(pod_sandbox_id="no-such-sandbox"))
    await runtime.RemovePodSandbox(criv1.RemovePodSandboxRequest(pod_sandbox_id="no-such-sandbox"))


@pytest.mark.cri_shim_only
async def test_without_containerd_calls_are_unavailable_and_recover_by_themselves(
    cri: Cri, node: Node
) -> None:
    async def runtime_ready() -> criv1.RuntimeCondition:
        status = (await cri.runtime.Status(criv1.StatusRequest())).status
        return next(condition for condition in status.conditions if condition.type == "RuntimeReady")

    await node.containerd.kill()
    try:
        condition = await eventually(runtime_ready, lambda seen: not seen.status, "RuntimeReady is false")
        assert node.containerd.address in condition.message
        async with refused(grpc.StatusCode.UNAVAILABLE) as error:
            await cri.image.PullImage(criv1.PullImageRequest(image=criv1.ImageSpec(image=node.busybox)))
        assert node.containerd.address in str(error[0].details())
    finally:
        await node.containerd.start()
    await eventually(runtime_ready, lambda seen: seen.status, "RuntimeReady is true again")
