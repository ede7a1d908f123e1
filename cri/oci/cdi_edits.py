"""Applying CDI edits to a container's spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.oci.mounts import clean
from cri.oci.process import merge_environment
from cri.oci.refusals import bad_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cri.oci import spec as oci
    from cri.oci.cdi_spec import BindMount, ContainerEdits, DeviceNode, Hook, IntelRdt, NetDevice
    from cri.oci.devices import HostDevice
    from cri.oci.handler import RuntimeHandler


def apply_edits(
    spec: oci.Spec,
    edits: Iterable[ContainerEdits],
    nodes: Mapping[str, HostDevice],
    handler: RuntimeHandler,
) -> None:
    """Change `spec` by all `edits` in order; the last word on a device, mount or variable counts.

    `nodes` are the host's device nodes by path, for edits that leave type or numbers out. Raises
    InvalidArgument when a device node is neither described nor there, and for interfaces where the handler's
    runtime does not move any.
    """
    edited_mounts = False
    for edit in edits:
        if edit.env:
            spec["process"]["env"] = merge_environment(spec["process"].get("env", ()), edit.env)
        for node in edit.device_nodes:
            _add_device(spec, node, nodes)
        for device in edit.net_devices:
            _add_interface(spec, device, handler)
        for mount in edit.mounts:
            _add_mount(spec, mount)
            edited_mounts = True
        for hook in edit.hooks:
            spec.setdefault("hooks", {}).setdefault(hook.hook_name, []).append(_hook(hook))
        if edit.intel_rdt is not None:
            spec["linux"]["intelRdt"] = _intel_rdt(edit.intel_rdt)
        if edit.additional_gids:
            _add_groups(spec["process"].setdefault("user", {}), edit.additional_gids)
    if edited_mounts:
        spec["mounts"].sort(key=lambda mount: clean(mount["destination"]).count("/"))


def _add_device(spec: oci.Spec, node: DeviceNode, nodes: Mapping[str, HostDevice]) -> None:
    device = _device(node, nodes.get(node.source), spec["process"].get("user", {}))
    linux = spec["linux"]
    others = [other for other in linux.get("devices", ()) if other["path"] != node.path]
    linux["devices"] = [*others, device]
    if device["type"] in ("b", "c"):
        rule: oci.DeviceCgroup = {
            "allow": True,
            "type": device["type"],
            "major": device["major"],
            "minor": device["minor"],
            "access": node.permissions or "rwm",
        }
        linux["resources"].setdefault("devices", []).append(rule)


def _add_interface(spec: oci.Spec, device: NetDevice, handler: RuntimeHandler) -> None:
    if not handler.network_devices:
        raise bad_value(
            "CDI net device",
            device.host_interface_name,
            f"left out, since the runtime of runtime handler {handler.name!r} moves no interfaces",
        )
    spec["linux"].setdefault("netDevices", {})[device.host_interface_name] = {"name": device.name}


def _device(node: DeviceNode, host: HostDevice | None, user: oci.User) -> oci.Device:
    kind = "c" if node.type == "u" else node.type or (host.type if host else "")
    device: oci.Device = {"path": node.path, "type": kind}
    if not kind:
        raise bad_value(
            "CDI device node", node.source, "a device on this machine, or described with its type"
        )
    if host is not None and host.type != kind:
        raise bad_value(
            "CDI device node", node.source, f"of type {kind}, as specified; it is of type {host.type}"
        )
    if kind != "p":
        device["major"], device["minor"] = _numbers(node, host)
    if node.file_mode is not None:
        device["fileMode"] = node.file_mode
    elif host is not None:
        device["fileMode"] = host.file_mode
    # A process that is not root shall be able to use what it was given.
    uid = node.uid if node.uid is not None else user.get("uid", 0) or None
    gid = node.gid if node.gid is not None else user.get("gid", 0) or None
    if uid is not None:
        device["uid"] = uid
    if gid is not None:
        device["gid"] = gid
    return device


def _numbers(node: DeviceNode, host: HostDevice | None) -> tuple[int, int]:
    if node.major is not None and node.minor is not None:
        return node.major, node.minor
    if host is None:
        raise bad_value("CDI device node", node.source, "a device on this machine, or described with numbers")
    major = host.major if node.major is None else node.major
    return major, host.minor if node.minor is None else node.minor


def _add_mount(spec: oci.Spec, mount: BindMount) -> None:
    target = clean(mount.container_path)
    others = [other for other in spec["mounts"] if clean(other["destination"]) != target]
    added: oci.Mount = {
        "destination": mount.container_path,
        "source": mount.host_path,
        "options": list(mount.options),
    }
    if mount.type:
        added["type"] = mount.type
    spec["mounts"] = [*others, added]


def _hook(hook: Hook) -> oci.Hook:
    added: oci.Hook = {"path": hook.path}
    if hook.args:
        added["args"] = list(hook.args)
    if hook.env:
        added["env"] = list(hook.env)
    if hook.timeout is not None:
        added["timeout"] = hook.timeout
    return added


def _intel_rdt(rdt: IntelRdt) -> oci.IntelRdt:
    added: oci.IntelRdt = {}
    if rdt.closID:
        added["closID"] = rdt.closID
    if rdt.l3CacheSchema:
        added["l3CacheSchema"] = rdt.l3CacheSchema
    if rdt.memBwSchema:
        added["memBwSchema"] = rdt.memBwSchema
    if rdt.schemata:
        added["schemata"] = list(rdt.schemata)
    if rdt.enableMonitoring:
        added["enableMonitoring"] = True
    if rdt.enableCMT:
        added["enableCMT"] = True
    if rdt.enableMBM:
        added["enableMBM"] = True
    return added


def _add_groups(user: oci.User, groups: Iterable[int]) -> None:
    """Add groups; 0 is left out, so that no specification can hand out root's group."""
    user["additionalGids"] = sorted({*user.get("additionalGids", ()), *(group for group in groups if group)})
