"""CDI specification files: their format, and what makes one valid (container-device-interface, SPEC.md).

A file describes the devices of one vendor and class, and the edits to a container's spec that each needs.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from cri.errors import InvalidArgument

SUFFIXES = (".json", ".yaml", ".yml")

HookName = Literal["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]

_VENDOR = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_CLASS = re.compile(r"[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")


class _Format(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Common options: camelCase on the wire, and a misspelt field is an error."""


class DeviceNode(_Format, frozen=True):
    """A device node; type and numbers are those of the host's node when left out."""

    path: str
    host_path: str = ""
    type: Literal["", "b", "c", "u", "p"] = ""
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None

    @property
    def source(self) -> str:
        """Path of the node on the host."""
        return self.host_path or self.path


class NetDevice(_Format, frozen=True):
    """A network interface to move into the container."""

    host_interface_name: str
    name: str


class Hook(_Format, frozen=True):
    """A program to run at a point of the container's life."""

    hook_name: HookName
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class BindMount(_Format, frozen=True):
    """A mount in the container."""

    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    type: str = ""


class IntelRdt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cache and bandwidth class; the names are not in camelCase on the wire."""

    closID: str = ""  # noqa: N815
    l3CacheSchema: str = ""  # noqa: N815
    memBwSchema: str = ""  # noqa: N815
    schemata: tuple[str, ...] = ()
    enableMonitoring: bool = False  # noqa: N815
    enableCMT: bool = False  # noqa: N815
    enableMBM: bool = False  # noqa: N815


class ContainerEdits(_Format, frozen=True):
    """Changes to a container's spec."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    net_devices: tuple[NetDevice, ...] = ()
    hooks: tuple[Hook, ...] = ()
    mounts: tuple[BindMount, ...] = ()
    intel_rdt: IntelRdt | None = None
    additional_gids: tuple[int, ...] = msgspec.field(default=(), name="additionalGids")


class Device(_Format, frozen=True):
    """One device of the file's kind."""

    name: str
    container_edits: ContainerEdits
    annotations: dict[str, str] = {}


class CdiSpec(_Format, frozen=True):
    """A whole file. `kind` is vendor/class; its own edits come with whichever of its devices is used."""

    cdi_version: str
    kind: str
    devices: tuple[Device, ...]
    container_edits: ContainerEdits = ContainerEdits()
    annotations: dict[str, str] = {}


def parse_spec(path: str, content: bytes) -> CdiSpec:
    """The specification in a file. Raises InvalidArgument, naming the file and what is wrong with it."""
    try:
        if path.endswith(".json"):
            spec = msgspec.json.decode(content, type=CdiSpec)
        else:
            spec = msgspec.yaml.decode(content, type=CdiSpec)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"CDI specification {path}: {error}") from error
    problem = _problem(spec)
    if problem is not None:
        raise InvalidArgument(f"CDI specification {path}: {problem}")
    return spec


def is_qualified(name: str) -> bool:
    """Whether `name` is vendor/class=device."""
    kind, equals, device = name.partition("=")
    return bool(equals) and _is_kind(kind) and _NAME.fullmatch(device) is not None


def _is_kind(kind: str) -> bool:
    vendor, slash, class_ = kind.partition("/")
    return bool(slash) and _VENDOR.fullmatch(vendor) is not None and _CLASS.fullmatch(class_) is not None


def _problem(spec: CdiSpec) -> str | None:
    if not re.fullmatch(r"[01]\.\d+\.\d+", spec.cdi_version):
        return f"cdiVersion {spec.cdi_version!r} must be a version up to 1"
    if not _is_kind(spec.kind):
        return f"kind {spec.kind!r} must be vendor/class"
    seen: set[str] = set()
    for device in spec.devices:
        if not _NAME.fullmatch(device.name):
            return f"device name {device.name!r} must be of letters, digits and _.:- in between"
        if device.name in seen:
            return f"device {device.name!r} occurs twice"
        seen.add(device.name)
    if not spec.devices:
        return "it has no devices"
    for edits in (spec.container_edits, *(device.container_edits for device in spec.devices)):
        problem = _edits_problem(edits)
        if problem is not None:
            return problem
    return None


def _edits_problem(edits: ContainerEdits) -> str | None:
    for variable in edits.env:
        if variable.find("=") < 1:
            return f"env {variable!r} must be NAME=value"
    for node in edits.device_nodes:
        if not node.path.startswith("/"):
            return f"device node {node.path!r} must have an absolute path"
        if node.permissions.strip("rwm"):
            return f"device node {node.path!r}: permissions must be made of r, w and m"
    for mount in edits.mounts:
        if not mount.host_path or not mount.container_path.startswith("/"):
            return f"mount {mount.container_path!r} must have a host path and an absolute container path"
    for hook in edits.hooks:
        if not hook.path.startswith("/"):
            return f"hook {hook.hook_name} must have an absolute path, not {hook.path!r}"
    return None
