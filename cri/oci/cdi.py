"""Container Device Interface: which devices there are, and which edits a container's request amounts to.

Specification files come from directories in order of rising priority. A device that a later directory has
replaces an earlier one's; two of one name in one directory conflict, and then neither can be used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cri.errors import InvalidArgument
from cri.oci.cdi_spec import CdiSpec, ContainerEdits, is_qualified, parse_spec
from cri.oci.refusals import bad_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from api.wire import criv1
    from cri.oci.settings import OciSettings

ANNOTATION_PREFIX = "cdi.k8s.io/"


@dataclass(frozen=True, slots=True)
class SpecFile:
    """A specification file; `priority` is the position of its directory in the configured list."""

    path: str
    priority: int
    content: bytes


@dataclass(frozen=True, slots=True)
class CdiDevice:
    """A usable device: the edits of its file and its own."""

    file: str
    spec: CdiSpec
    edits: ContainerEdits


@dataclass(frozen=True, slots=True)
class CdiRegistry:
    """All devices of the files read."""

    #: By qualified name, vendor/class=name.
    devices: Mapping[str, CdiDevice] = field(default_factory=dict)
    #: Files that claim the same device in one directory, by the device's name.
    conflicts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: What is wrong with files that could not be used, by path.
    errors: Mapping[str, str] = field(default_factory=dict)


def build_registry(files: Iterable[SpecFile]) -> CdiRegistry:
    """The devices of all valid files; malformed files are listed in `errors` and do not hide the others."""
    found: dict[str, list[tuple[int, CdiDevice]]] = {}
    errors = {}
    for file in sorted(files, key=lambda file: file.path):
        try:
            spec = parse_spec(file.path, file.content)
        except InvalidArgument as error:
            errors[file.path] = error.message
            continue
        for device in spec.devices:
            claim = CdiDevice(file.path, spec, device.container_edits)
            found.setdefault(f"{spec.kind}={device.name}", []).append((file.priority, claim))
    devices, conflicts = {}, {}
    for name, claims in found.items():
        highest = max(priority for priority, _ in claims)
        winners = [device for priority, device in claims if priority == highest]
        if len(winners) == 1:
            devices[name] = winners[0]
        else:
            conflicts[name] = tuple(device.file for device in winners)
    return CdiRegistry(devices, conflicts, errors)


def requested_edits(
    config: criv1.ContainerConfig, registry: CdiRegistry | None, settings: OciSettings
) -> tuple[ContainerEdits, ...]:
    """The edits for the devices in the request and its cdi.k8s.io annotations, in the order of application.

    The edits of a file come once, before those of its first device. Raises InvalidArgument for devices that
    do not exist or conflict, and when devices are asked for but CDI is switched off.
    """
    if not settings.enable_cdi:
        if config.CDI_devices:
            asked = ", ".join(device.name for device in config.CDI_devices)
            raise bad_value("config.CDI_devices", asked, "empty, since enable_cdi = false")
        return ()
    names = requested_names(config)
    registry = registry or CdiRegistry()
    unresolvable = [_why_not(name, registry) for name in names if name not in registry.devices]
    if unresolvable:
        raise InvalidArgument(
            f"config.CDI_devices: unresolvable CDI devices: {'; '.join(unresolvable)} "
            f"(specifications are looked for in {', '.join(settings.cdi_spec_dirs)})"
        )
    edits: list[ContainerEdits] = []
    seen: set[str] = set()
    for name in names:
        device = registry.devices[name]
        if device.file not in seen:
            seen.add(device.file)
            edits.append(device.spec.container_edits)
        edits.append(device.edits)
    return tuple(edits)


def requested_names(config: criv1.ContainerConfig) -> tuple[str, ...]:
    """Qualified names of all devices asked for, without doubles: the field's first, then annotations'."""
    names = [("config.CDI_devices.name", device.name) for device in config.CDI_devices]
    for key in sorted(config.annotations):
        if key.startswith(ANNOTATION_PREFIX):
            names += [(f"config.annotations[{key}]", name) for name in config.annotations[key].split(",")]
    for where, name in names:
        if not is_qualified(name):
            raise bad_value(where, name, "a qualified CDI device name, vendor/class=device")
    return tuple(dict.fromkeys(name for _, name in names))


def unknown_nodes(edits: Iterable[ContainerEdits]) -> tuple[str, ...]:
    """Host paths of device nodes whose type or numbers only the host can tell; the caller looks them up."""
    return tuple(
        dict.fromkeys(
            node.source
            for edit in edits
            for node in edit.device_nodes
            if not node.type or (node.type != "p" and (node.major is None or node.minor is None))
        )
    )


def _why_not(name: str, registry: CdiRegistry) -> str:
    if name in registry.conflicts:
        return f"{name} is in several files: {', '.join(registry.conflicts[name])}"
    kind = name.partition("=")[0]
    if any(known.startswith(f"{kind}=") for known in registry.devices):
        return f"{name} (its kind is known, the device is not)"
    return name
