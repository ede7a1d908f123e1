"""Devices: those of the host that a request names, all of them for privileged containers, and those of CDI."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.configured import configured
from e2e.harness.cri import container_config, refused
from e2e.harness.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

CONTROL = next(path for path in map(Path, ("/dev/fuse", "/dev/loop-control")) if path.exists())
"""A device that anybody may open who is let, and that no container gets unasked."""

pytestmark = pytest.mark.cri_shim_only


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads) -> Pod:
    return await workloads.pod()


def device(host: Path, container: str, permissions: str = "rwm") -> criv1.Device:
    return criv1.Device(host_path=str(host), container_path=container, permissions=permissions)


async def test_permissions_are_kept_by_the_kernel(pod: Pod) -> None:
    container = await pod.sleeper(devices=[device(CONTROL, "/dev/control", "r")])
    node = CONTROL.stat()
    numbers = await container.output_of("stat -c '%t:%T' /dev/control")
    assert numbers == f"{node.st_rdev >> 8:x}:{node.st_rdev & 0xFF:x}"
    await container.output_of("dd if=/dev/control count=0 2>/dev/null")
    refusal = await container.execute("sh", "-c", ": > /dev/control")
    assert refusal.exit_code != 0
    assert b"not permitted" in refusal.stderr


async def test_a_device_that_was_not_given_cannot_be_made(pod: Pod) -> None:
    container = await pod.sleeper()
    numbers = CONTROL.stat().st_rdev
    await container.output_of(f"mknod /tmp/own c {os.major(numbers)} {os.minor(numbers)}")
    refusal = await container.execute("sh", "-c", "dd if=/tmp/own count=0")
    assert b"not permitted" in refusal.stderr, "the cgroup decides, not the node"


async def test_a_directory_of_devices_and_a_link(pod: Pod, tmp_path: Path) -> None:
    for name in ("a/one", "a/b/two"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make_node(tmp_path / name)
    (tmp_path / "link").symlink_to("a/one")
    container = await pod.sleeper(
        devices=[device(tmp_path / "a", "/dev/several"), device(tmp_path / "link", "/dev/linked")]
    )
    listed = await container.output_of("stat -c %F /dev/several/one /dev/several/b/two /dev/linked")
    assert listed.splitlines() == ["character special file"] * 3


def make_node(path: Path, mode: int = 0o640) -> None:
    """A node for /dev/full."""
    os.mknod(path, stat.S_IFCHR | mode, os.makedev(1, 7))
    path.chmod(mode)


async def test_devices_belong_to_the_host_or_as_configured_to_the_user(
    workloads: Workloads, node: Node, tmp_path: Path
) -> None:
    make_node(tmp_path / "node")
    security = criv1.LinuxContainerSecurityContext(
        run_as_user=criv1.Int64Value(value=1000), run_as_group=criv1.Int64Value(value=33)
    )
    look = "stat -c '%u:%g %a' /dev/given"
    given = [device(tmp_path / "node", "/dev/given")]
    container = await (await workloads.pod("before")).sleeper(security=security, devices=given)
    assert await container.output_of(look) == "0:0 640"
    async with configured(node, keys="device_ownership_from_security_context = true\n"):
        container = await (await workloads.pod("after")).sleeper(security=security, devices=given)
        assert await container.output_of(look) == "1000:33 640"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (criv1.Device(host_path="/dev/no-such-device", container_path="/dev/a"), "host_path"),
        (criv1.Device(host_path="/etc/hostname", container_path="/dev/a"), "host_path"),
        (criv1.Device(host_path="/dev/null", container_path="relative"), "container_path"),
        (criv1.Device(host_path="/dev/null", container_path="/dev/a", permissions="x"), "permissions"),
    ],
)
async def test_impossible_devices_are_named(pod: Pod, asked: criv1.Device, named: str) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await pod.create(devices=[asked])
    assert named in str(error[0].details())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cdi(node: Node, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Path, Path]]:
    """Two directories of CDI specifications, the second of higher priority; neither exists yet."""
    base = tmp_path_factory.mktemp("cdi")
    static, dynamic = base / "etc", base / "run"
    async with configured(
        node, keys=f"cdi_spec_dirs = [{json.dumps(str(static))}, {json.dumps(str(dynamic))}]\n"
    ):
        yield static, dynamic


def specification(name: str, **edits: object) -> str:
    """A file with one device."""
    return json.dumps(
        {
            "cdiVersion": "0.6.0",
            "kind": "vendor.test/thing",
            "devices": [{"name": name, "containerEdits": edits}],
            "containerEdits": {"env": ["VENDOR=test"]},
        }
    )


def write(directory: Path, name: str, content: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(content)


async def create_with(pod: Pod, *devices: str, annotations: dict[str, str] | None = None) -> Container:
    config = container_config("main", pod.image, command=["sleep", "1000"], annotations=annotations)
    config.CDI_devices.extend(criv1.CDIDevice(name=name) for name in devices)
    container = await pod.create_as(config)
    await container.start()
    return container


async def test_the_edits_of_a_cdi_device_are_made(pod: Pod, cdi: tuple[Path, Path], tmp_path: Path) -> None:
    static, _ = cdi
    (tmp_path / "library").write_text("driver\n")
    edits = {
        "env": ["DEVICE=first"],
        "deviceNodes": [{"path": "/dev/thing", "hostPath": str(CONTROL), "permissions": "r"}],
        "mounts": [
            {
                "hostPath": str(tmp_path / "library"),
                "containerPath": "/usr/lib/driver",
                "options": ["ro", "bind"],
            }
        ],
        "hooks": [
            {"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", f"touch {tmp_path}/hooked"]}
        ],
        "additionalGids": [4711],
    }
    write(static, "vendor.json", specification("first", **edits))
    container = await create_with(pod, "vendor.test/thing=first")
    assert await container.output_of("echo $VENDOR $DEVICE; cat /usr/lib/driver") == "test first\ndriver"
    await container.output_of("dd if=/dev/thing count=0 2>/dev/null")
    assert (tmp_path / "hooked").exists()
    assert "4711" in (await container.output_of("id -G")).split()


async def test_cdi_devices_of_annotations_and_overriding_directories(
    pod: Pod, cdi: tuple[Path, Path]
) -> None:
    static, dynamic = cdi
    write(static, "one.json", specification("other", env=["DEVICE=static"]))
    write(dynamic, "one.yaml", specification("other", env=["DEVICE=dynamic"]))
    container = await create_with(pod, annotations={"cdi.k8s.io/plugin": "vendor.test/thing=other"})
    assert await container.output_of("echo $DEVICE") == "dynamic"


async def test_unknown_and_disputed_cdi_devices_are_refused_and_told(
    pod: Pod, cdi: tuple[Path, Path], node: Node
) -> None:
    static, _ = cdi
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await create_with(pod, "vendor.test/thing=missing")
    assert "vendor.test/thing=missing" in str(error[0].details())

    async def condition() -> criv1.RuntimeCondition:
        status = (await node.cri.runtime.Status(criv1.StatusRequest())).status
        return next(found for found in status.conditions if found.type == "CDIDevicesUsable")

    write(static, "a.json", specification("disputed"))
    write(static, "b.json", specification("disputed"))
    write(static, "c.json", '{"cdiVersion": "0.6.0", "kind": "no kind"}')
    told = await eventually(
        condition, lambda seen: "c.json" in seen.message and "disputed" in seen.message, "the problems told"
    )
    assert not told.status
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await create_with(pod, "vendor.test/thing=disputed")
    assert "several files" in str(error[0].details())
    for name in ("b.json", "c.json"):
        (static / name).unlink()
    await eventually(condition, lambda seen: seen.status, "the condition true again")
    await create_with(pod, "vendor.test/thing=disputed")
