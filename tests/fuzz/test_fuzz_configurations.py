"""Any configuration is carried out or refused for a reason of its own: never Unknown or Internal, never a leak.

Through the socket, as the kubelet's requests come, on the containerd double. CI makes five thousand containers, a
developer a few; FUZZ_CASES says how many. Pods, which take longer, are a quarter as many on top.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.containerd import Client
from api.cri import CriClient
from api.wire import criv1
from api.wire.criv1 import runtime_service_pb2
from cri.container.handlers import Handler
from cri.oci.handler import RuntimeHandler
from cri.services.registration import add_service
from cri.services.runtime import RuntimeService
from tests.double import ContainerdDouble
from tests.fuzz.configurations import Places, container_configs, pod_configs
from tests.node import DoubleNode, double_node

CASES = int(os.environ.get("FUZZ_CASES", "5000" if os.environ.get("CI") else "300"))
SHARDS = 3
"""Parts of the containers, of equal size, which run beside each other."""

REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
fuzzed = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """A node, a client of it, and the places that configurations may name."""

    node: DoubleNode
    cri: CriClient
    places: Places

    async def pod(self, **namespaces: int) -> str:
        config = self.node.pod_config(f"pod-{len(self.node.node.sandboxes)}")
        context = config.linux.security_context
        context.privileged = bool(namespaces)
        context.namespace_options.CopyFrom(criv1.NamespaceOption(**namespaces))
        answer = await self.cri.runtime.RunPodSandbox(criv1.RunPodSandboxRequest(config=config))
        return answer.pod_sandbox_id

    def held(self) -> tuple[object, ...]:
        """Everything that a container could leave behind; images as volumes are the pod's and go with it."""
        left = self.node.containerd.leftovers()
        left = replace(left, snapshots=tuple(key for key in left.snapshots if "cri-shim-volume" not in key))
        paths = self.node.pods.engine.paths
        files = sorted(str(path) for base in (paths.root, paths.state) for path in base.glob("containers/*"))
        return (left, tuple(files), len(self.node.node.containers), tuple(self.node.keeper.followed))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places.made_in(tmp_path_factory.mktemp("fuzz") / "places")


@pytest_asyncio.fixture
async def fuzz(
    containerd: ContainerdDouble, client: Client, tmp_path: Path, places: Places
) -> AsyncIterator[Fuzzed]:
    async with double_node(containerd, client, tmp_path) as node:
        features = RuntimeHandler("able", recursive_read_only_mounts=True, user_namespaces=True)
        node.pods.engine.handlers._handlers["able"] = Handler("able", features, None, "overlayfs")
        server = grpc.aio.server()
        (service,) = runtime_service_pb2.DESCRIPTOR.services_by_name.values()
        add_service(server, service, RuntimeService(node.on))
        path = node.containerd.directory / "cri.sock"
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        async with CriClient(f"unix://{path}") as connected:
            yield Fuzzed(node, connected, places)
        await server.stop(0)
        for sandbox in node.node.sandboxes:
            await node.sandboxes.remove(sandbox.id)
        await node.settled()
        node.assert_nothing_left()


@pytest_asyncio.fixture
async def pods(fuzz: Fuzzed) -> list[str]:
    """A pod with namespaces of its own and one that shares the host's."""
    return [await fuzz.pod(), await fuzz.pod(network=criv1.NODE, pid=criv1.NODE, ipc=criv1.NODE)]


async def answer_or_refusal(call):
    """What the server answers, None for a refusal; anything but a proper refusal fails the test."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        code, details = error.code(), str(error.details())
    assert code in REFUSALS, f"{code.name}: {details}"
    assert details, "a refusal says why"
    assert "Traceback" not in details
    assert ".py" not in details, details
    return None


@pytest.mark.timeout(900)
@pytest.mark.parametrize("shard", range(SHARDS))
@settings(fuzzed, max_examples=-(-CASES // SHARDS))
@given(data=st.data())
async def test_containers(fuzz: Fuzzed, pods: list[str], shard: int, data: st.DataObject):
    config, pod = data.draw(container_configs(fuzz.places)), data.draw(st.sampled_from(pods))
    before = fuzz.held()
    runtime = fuzz.cri.runtime
    request = criv1.CreateContainerRequest(pod_sandbox_id=pod, config=config)
    created = await answer_or_refusal(runtime.CreateContainer(request))
    if created is not None:
        identifier = created.container_id
        await runtime.ContainerStatus(criv1.ContainerStatusRequest(container_id=identifier, verbose=True))
        update = criv1.UpdateContainerResourcesRequest(container_id=identifier, linux=config.linux.resources)
        await answer_or_refusal(runtime.UpdateContainerResources(update))
        await runtime.StartContainer(criv1.StartContainerRequest(container_id=identifier))
        await runtime.RemoveContainer(criv1.RemoveContainerRequest(container_id=identifier))
        await fuzz.node.settled()
    after = fuzz.held()
    assert after == before, f"the case left something behind: {after} instead of {before}"


@pytest.mark.timeout(900)
@settings(fuzzed, max_examples=-(-CASES // 4))
@given(data=st.data())
async def test_pods(fuzz: Fuzzed, data: st.DataObject):
    config = data.draw(pod_configs(fuzz.places))
    handler = data.draw(st.sampled_from(["", "runc", "able", "no-such-handler"]))
    runtime = fuzz.cri.runtime
    request = criv1.RunPodSandboxRequest(config=config, runtime_handler=handler)
    answer = await answer_or_refusal(runtime.RunPodSandbox(request))
    if answer is not None:
        identifier = answer.pod_sandbox_id
        status = criv1.PodSandboxStatusRequest(pod_sandbox_id=identifier, verbose=True)
        await runtime.PodSandboxStatus(status)
        resources = criv1.UpdatePodSandboxResourcesRequest(
            pod_sandbox_id=identifier, resources=config.linux.resources, overhead=config.linux.overhead
        )
        await answer_or_refusal(runtime.UpdatePodSandboxResources(resources))
        await runtime.RemovePodSandbox(criv1.RemovePodSandboxRequest(pod_sandbox_id=identifier))
    await fuzz.node.settled()
    fuzz.node.assert_nothing_left()
