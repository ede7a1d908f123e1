"""Pods with a user namespace of their own: what root is in there, whose files are whose, what is refused.

They need runc 1.2 or later. Where the node's runc is older, E2E_RUNC names one to use instead; without it only the
refusal is tested.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.catalogue import documents, with_volumes
from e2e.harness.cgroup import process_of
from e2e.harness.configured import configured
from e2e.harness.cri import refused
from e2e.harness.pulled import pulled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

FIRST, SIZE = 300_000, 65_536
HANDLER = "with-user-namespaces"

pytestmark = pytest.mark.cri_shim_only


def able_runc() -> str | None:
    """A runc that maps the ids of mounts, None if this machine has none."""
    candidates = [name for name in (os.environ.get("E2E_RUNC"), shutil.which("runc")) if name]
    return next((candidate for candidate in candidates if maps_ids(candidate)), None)


def maps_ids(runc: str) -> bool:
    found = subprocess.run([runc, "features"], capture_output=True, check=False)
    extensions = json.loads(found.stdout or "{}").get("linux", {}).get("mountExtensions", {})
    return bool(extensions.get("idmap", {}).get("enabled"))


@pytest.fixture(scope="module")
def runc() -> str:
    found = able_runc()
    if found is None:
        pytest.skip("no runc 1.2 here; name one in E2E_RUNC")
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def handler(node: Node, runc: str) -> AsyncIterator[str]:
    """A runtime handler that has user namespaces."""
    table = f"""
[containerd.runtimes.{HANDLER}]
runtime_type = "io.containerd.runc.v2"
[containerd.runtimes.{HANDLER}.options]
BinaryName = {json.dumps(runc)}
"""
    async with configured(node, tables=table):
        yield HANDLER


def namespace(
    mode: criv1.NamespaceMode.ValueType = criv1.POD, container_id: int = 0, lines: int = 1
) -> criv1.UserNamespace:
    ids = [
        criv1.IDMapping(host_id=FIRST + line * SIZE, container_id=container_id, length=SIZE)
        for line in range(lines)
    ]
    return criv1.UserNamespace(mode=mode, uids=ids, gids=ids)


def with_namespace(config: criv1.PodSandboxConfig, user: criv1.UserNamespace) -> criv1.PodSandboxConfig:
    config.linux.security_context.namespace_options.userns_options.CopyFrom(user)
    return config


def in_it(**settings: object) -> criv1.LinuxContainerSecurityContext:
    """The security context of a container in such a pod: the kubelet repeats the pod's options."""
    options = criv1.NamespaceOption(pid=criv1.CONTAINER, userns_options=namespace())
    return criv1.LinuxContainerSecurityContext(namespace_options=options, **settings)


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads, handler: str) -> Pod:
    return await workloads.pod_as(with_namespace(workloads.config(), namespace()), handler)


async def features(node: Node, handler: str) -> criv1.RuntimeHandlerFeatures:
    status = await node.cri.runtime.Status(criv1.StatusRequest())
    return next(found.features for found in status.runtime_handlers if found.name == handler)


async def owner_outside(container: Container, path: str) -> tuple[int, int]:
    """The owner of a file of the container as the host sees it."""
    found = Path(f"/proc/{await process_of(container)}/root{path}").stat()
    return found.st_uid, found.st_gid


async def test_features_tell_the_truth(node: Node, handler: str) -> None:
    assert (await features(node, handler)).user_namespaces
    assert (await features(node, "runc")).user_namespaces is maps_ids("runc")


async def test_a_handler_without_them_refuses(node: Node, workloads: Workloads) -> None:
    if (await features(node, "runc")).user_namespaces:
        pytest.skip("this runc has user namespaces")
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await workloads.pod_as(with_namespace(workloads.config(), namespace()))
    assert "userns_options" in str(error[0].details())


async def test_root_inside_is_nobody_outside(pod: Pod) -> None:
    container = await pod.sleeper(security=in_it())
    assert await container.output_of("id -u") == "0"
    assert (await container.output_of("cat /proc/self/uid_map")).split() == ["0", str(FIRST), str(SIZE)]
    status = Path(f"/proc/{await process_of(container)}/status").read_text()
    assert f"Uid:\t{FIRST}\t" in status
    assert f"Gid:\t{FIRST}\t" in status


async def test_files_of_the_image_belong_to_the_pods_users(pod: Pod) -> None:
    container = await pod.sleeper(security=in_it())
    assert await container.output_of("stat -c %u:%g / /bin/busybox /etc/passwd") == "0:0\n0:0\n0:0"
    await container.output_of("echo new > /made; chown 1000:33 /made; echo more >> /etc/passwd")
    assert await container.output_of("stat -c %u:%g /made") == "1000:33"
    assert await owner_outside(container, "/made") == (FIRST + 1000, FIRST + 33)


async def test_the_network_belongs_to_the_pod(pod: Pod) -> None:
    container = await pod.sleeper(
        security=in_it(capabilities=criv1.Capability(add_capabilities=["NET_ADMIN"]))
    )
    await container.output_of("ip link add dummy0 type dummy 2>/dev/null || ip addr add 192.0.2.1/32 dev lo")
    assert await container.output_of("ping -c1 -W2 127.0.0.1 > /dev/null && echo answered") == "answered"
    assert await container.output_of("cat /sys/class/net/eth0/operstate") == "up"


async def test_output_can_be_opened_again_by_name(pod: Pod) -> None:
    container = await pod.run(command=["sh", "-c", "echo again > /dev/stdout"], security=in_it())
    assert [record.content for record in await container.settled_log()] == [b"again"]


async def test_volumes_are_seen_with_their_true_owners(pod: Pod, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("content\n")
    os.chown(tmp_path / "data" / "file", 1000, 1000)
    ids = [criv1.IDMapping(host_id=FIRST, container_id=0, length=SIZE)]
    mount = criv1.Mount(
        container_path="/data", host_path=str(tmp_path / "data"), uidMappings=ids, gidMappings=ids
    )
    container = await pod.sleeper(security=in_it(), mounts=[mount])
    assert await container.output_of("stat -c %u:%g /data/file") == "1000:1000"
    await container.output_of("echo new > /data/new")
    assert (tmp_path / "data" / "new").stat().st_uid == 0, "root's files on the volume are root's"


async def test_image_volumes_and_anonymous_ones(pod: Pod, node: Node) -> None:
    async with (
        pulled(node, "e2e/documents", documents()) as volume,
        pulled(node, "e2e/volumes", with_volumes()) as image,
    ):
        mount = criv1.Mount(container_path="/volume", readonly=True, image=criv1.ImageSpec(image=volume))
        container = await pod.sleeper(image=image, security=in_it(), mounts=[mount])
        assert await container.output_of("stat -c %u:%g /volume/data/deep/note.txt") == "1000:50000"
        assert await container.output_of("stat -c %u:%g /var/store/first") == "1000:50000"


async def test_pod_files_and_shared_memory(pod: Pod) -> None:
    first, second = (
        await pod.sleeper("first", security=in_it()),
        await pod.sleeper("second", security=in_it()),
    )
    assert await first.output_of("cat /etc/hostname") == pod.config.hostname
    await first.output_of("echo shared > /dev/shm/note")
    assert await second.output_of("cat /dev/shm/note") == "shared"


async def test_exec_and_another_user(pod: Pod) -> None:
    security = in_it(run_as_user=criv1.Int64Value(value=1000), supplemental_groups=[1234])
    container = await pod.sleeper(security=security)
    assert await container.output_of("id -u; id -G") == "1000\n1000 1234 50000"


async def test_pods_survive_a_restart_of_the_server(pod: Pod, node: Node) -> None:
    await pod.sleeper("before", security=in_it())
    await node.server.kill()
    await node.server.start()
    container = await pod.sleeper("after", security=in_it())
    assert await container.output_of("id -u") == "0"


async def test_with_the_hosts_network(workloads: Workloads, handler: str) -> None:
    config = with_namespace(workloads.config(host_network=True), namespace())
    pod = await workloads.pod_as(config, handler)
    security = in_it()
    security.namespace_options.network = criv1.NODE
    container = await pod.sleeper(security=security)
    assert (await container.output_of("cat /proc/self/uid_map")).split()[1] == str(FIRST)


@pytest.mark.parametrize(
    "user",
    [
        namespace(lines=2),
        namespace(container_id=1),
        namespace(mode=criv1.CONTAINER),
        namespace(mode=criv1.TARGET),
        criv1.UserNamespace(mode=criv1.POD),
    ],
    ids=["two lines", "container id 1", "mode CONTAINER", "mode TARGET", "no line"],
)
async def test_other_mappings_are_refused(
    workloads: Workloads, handler: str, user: criv1.UserNamespace
) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await workloads.pod_as(with_namespace(workloads.config(), user), handler)
    assert "userns_options" in str(error[0].details())
