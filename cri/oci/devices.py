"""Device nodes and device cgroup rules of a container."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.oci.refusals import bad_value, check_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from api.wire import criv1
    from cri.oci.handler import RuntimeHandler
    from cri.oci.settings import OciSettings
    from cri.oci.spec import Device, DeviceCgroup

_FIELD = "config.devices"
_PERMISSIONS = re.compile("[rwm]{1,3}")
_ALL_ALLOWED: DeviceCgroup = {"allow": True, "access": "rwm"}


@dataclass(frozen=True, slots=True)
class HostDevice:
    """A device node of the host, as lstat sees it."""

    path: str
    #: `c`, `b` or `p`.
    type: str
    major: int
    minor: int
    #: Permission bits only.
    file_mode: int
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class DeviceSource:
    """What stands behind a requested `host_path`: the path after links, and the nodes there.

    For a directory these are all nodes below it except pts, shm, fd, mqueue and console, and no FIFOs.
    """

    path: str
    nodes: tuple[HostDevice, ...]


@dataclass(frozen=True, slots=True)
class ContainerDevices:
    """Nodes to make in the container and cgroup rules for them; `replaces` drops the rules so far."""

    nodes: list[Device]
    rules: list[DeviceCgroup]
    replaces: bool = False


def wants_host_devices(context: criv1.LinuxContainerSecurityContext, handler: RuntimeHandler) -> bool:
    """Whether the container gets every device node of the host, so that the caller must list them."""
    return context.privileged and not handler.privileged_without_host_devices


def container_devices(
    config: criv1.ContainerConfig,
    sources: Mapping[str, DeviceSource],
    host_devices: Iterable[HostDevice],
    handler: RuntimeHandler,
    settings: OciSettings,
) -> ContainerDevices:
    """The devices that a container asks for, and all of the host's if it is privileged.

    Raises InvalidArgument for a path without a device behind it, and for unknown permissions.
    """
    context = config.linux.security_context
    uid, gid = _owner(context, settings)
    nodes: list[Device] = []
    rules: list[DeviceCgroup] = []
    for device in config.devices:
        access = _access(device)
        for path, node in _expanded(device, sources):
            nodes.append(_owned(_node(path, node), uid, gid))
            rules.append(
                {"allow": True, "type": node.type, "major": node.major, "minor": node.minor, "access": access}
            )
    if not context.privileged:
        return ContainerDevices(nodes, rules)
    if not handler.privileged_without_host_devices:
        asked = {node["path"] for node in nodes}
        nodes += [_node(node.path, node) for node in host_devices if node.path not in asked]
        return ContainerDevices(nodes, [_ALL_ALLOWED], replaces=True)
    if handler.privileged_without_host_devices_all_devices_allowed:
        return ContainerDevices(nodes, [_ALL_ALLOWED], replaces=True)
    return ContainerDevices(nodes, rules)


def _owner(context: criv1.LinuxContainerSecurityContext, settings: OciSettings) -> tuple[int, int]:
    """User and group to own the device nodes, 0 for "as on the host"."""
    if not settings.device_ownership_from_security_context:
        return 0, 0
    return context.run_as_user.value, context.run_as_group.value


def _access(device: criv1.Device) -> str:
    """Cgroup permissions; none given means all, as for the device flag of container tools."""
    if not device.permissions:
        return "rwm"
    if not _PERMISSIONS.fullmatch(device.permissions):
        raise bad_value(
            f"{_FIELD}.permissions", device.permissions, "made of r (read), w (write) and m (mknod)"
        )
    return device.permissions


def _expanded(device: criv1.Device, sources: Mapping[str, DeviceSource]) -> Iterator[tuple[str, HostDevice]]:
    """Each node behind `device` with its path in the container."""
    check_text(f"{_FIELD}.container_path", device.container_path)
    source = sources.get(device.host_path)
    if source is None or not source.nodes:
        raise bad_value(
            f"{_FIELD}.host_path", device.host_path, "a device node or a directory with device nodes"
        )
    target = device.container_path or device.host_path
    if not target.startswith("/"):
        raise bad_value(f"{_FIELD}.container_path", device.container_path, "an absolute path")
    for node in source.nodes:
        below = posixpath.relpath(node.path, source.path)
        yield (target if below == "." else posixpath.join(target, below)), node


def _node(path: str, node: HostDevice) -> Device:
    return {
        "path": path,
        "type": node.type,
        "major": node.major,
        "minor": node.minor,
        "fileMode": node.file_mode,
        "uid": node.uid,
        "gid": node.gid,
    }


def _owned(node: Device, uid: int, gid: int) -> Device:
    if uid:
        node["uid"] = uid
    if gid:
        node["gid"] = gid
    return node
