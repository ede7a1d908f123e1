"""Sandboxes and containers as they stand in containerd: the labels and extensions of their container records.

The extensions named `io.cri-containerd.*` are those of containerd's own CRI plugin, with its JSON, so that either
server can take over the other's pods. What that plugin keeps in files (a container's status) is an extension of our
own here, because containerd's metadata is our only database.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from api.containerd import Container as ContainerdContainer
from api.containerd import TypedValue
from api.wire import criv1
from cri.state.container_status import ContainerStatus, Phase
from cri.state.go_json import Json, from_go_json, to_go_json
from cri.state.pins import PINS_EXTENSION, Pins

KIND_LABEL = "io.cri-containerd.kind"
KIND_SANDBOX = "sandbox"
KIND_CONTAINER = "container"

SANDBOX_EXTENSION = "io.cri-containerd.sandbox.metadata"
CONTAINER_EXTENSION = "io.cri-containerd.container.metadata"
STATUS_EXTENSION = "io.cri-shim.container.status"
SANDBOX_TYPE = "github.com/containerd/cri/pkg/store/sandbox/Metadata"
CONTAINER_TYPE = "github.com/containerd/cri/pkg/store/container/Metadata"
STATUS_TYPE = "io.cri-shim.v1/ContainerStatus"
RECORD_VERSION = "v1"
MOST_LABEL_BYTES = 4096
"""containerd refuses longer labels (key and value together); the metadata extension keeps those too."""


class BadRecordError(Exception):
    """A record in containerd that cannot be understood; the message says which part of it."""


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    """A pod sandbox: what the kubelet asked for and what it was given."""

    id: str
    name: str
    config: criv1.PodSandboxConfig
    network_namespace: str
    """Path of the pinned namespace; empty for host network."""
    runtime_handler: str
    created_at: int = 0
    ip: str = ""
    additional_ips: tuple[str, ...] = ()
    cni_result: Mapping[str, Json] | None = None
    process_label: str = ""
    pins: Pins | None = None
    """Where mounts hold the namespaces; None for a sandbox that a process holds."""

    @property
    def host_network(self) -> bool:
        """Whether the pod lives in the node's network namespace."""
        return not self.network_namespace

    @property
    def pinned(self) -> tuple[str, ...]:
        """Where namespaces are pinned: the network's, and what else mounts hold."""
        network = () if self.host_network else (self.network_namespace,)
        return (*network, *(self.pins or ()))

    def with_network(self, ips: tuple[str, ...], cni_result: Mapping[str, Json]) -> SandboxRecord:
        """The record after CNI ADD."""
        return replace(self, ip=ips[0] if ips else "", additional_ips=ips[1:], cni_result=cni_result)

    def extensions(self) -> dict[str, TypedValue]:
        """All that the record consists of."""
        pins = {} if self.pins is None else {PINS_EXTENSION: self.pins.to_extension()}
        return {SANDBOX_EXTENSION: self.to_extension(), **pins}

    def to_extension(self) -> TypedValue:
        """The metadata extension, in the form that containerd's CRI plugin reads."""
        metadata: dict[str, Json] = {
            "ID": self.id,
            "Name": self.name,
            "Config": to_go_json(self.config),
            "NetNSPath": self.network_namespace,
            "IP": self.ip,
            "AdditionalIPs": list(self.additional_ips) or None,
            "RuntimeHandler": self.runtime_handler,
            "CNIResult": self.cni_result,
            "ProcessLabel": self.process_label,
        }
        return _extension(SANDBOX_TYPE, metadata)

    @classmethod
    def from_containerd(cls, container: ContainerdContainer) -> SandboxRecord:
        """Read the record back. Raises BadRecordError naming what is wrong."""
        metadata = _metadata(container, SANDBOX_EXTENSION)
        try:
            return cls(
                id=container.id,
                name=str(metadata["Name"]),
                config=from_go_json(criv1.PodSandboxConfig, _object(metadata, "Config")),
                network_namespace=str(metadata.get("NetNSPath") or ""),
                runtime_handler=str(metadata.get("RuntimeHandler") or ""),
                created_at=container.created_at,
                ip=str(metadata.get("IP") or ""),
                additional_ips=tuple(cast("list[str]", metadata.get("AdditionalIPs") or [])),
                cni_result=cast("Mapping[str, Json] | None", metadata.get("CNIResult")),
                process_label=str(metadata.get("ProcessLabel") or ""),
                pins=_pins(container),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadRecordError(f"extension {SANDBOX_EXTENSION}: {error!r}") from error


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container: what the kubelet asked for, resolved to an image id and an absolute log path."""

    id: str
    name: str
    sandbox_id: str
    config: criv1.ContainerConfig
    image_id: str
    log_path: str
    stop_signal: str = ""
    process_label: str = ""

    def to_extension(self) -> TypedValue:
        """The metadata extension, in the form that containerd's CRI plugin reads."""
        metadata: dict[str, Json] = {
            "ID": self.id,
            "Name": self.name,
            "SandboxID": self.sandbox_id,
            "Config": to_go_json(self.config),
            "ImageRef": self.image_id,
            "LogPath": self.log_path,
            "StopSignal": self.stop_signal,
            "ProcessLabel": self.process_label,
        }
        return _extension(CONTAINER_TYPE, metadata)

    @classmethod
    def from_containerd(cls, container: ContainerdContainer) -> ContainerRecord:
        """Read the record back. Raises BadRecordError naming what is wrong."""
        metadata = _metadata(container, CONTAINER_EXTENSION)
        try:
            return cls(
                id=container.id,
                name=str(metadata["Name"]),
                sandbox_id=str(metadata["SandboxID"]),
                config=from_go_json(criv1.ContainerConfig, _object(metadata, "Config")),
                image_id=str(metadata.get("ImageRef") or ""),
                log_path=str(metadata.get("LogPath") or ""),
                stop_signal=str(metadata.get("StopSignal") or ""),
                process_label=str(metadata.get("ProcessLabel") or ""),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadRecordError(f"extension {CONTAINER_EXTENSION}: {error!r}") from error


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """A container's status as stored, with the resources that an update has put in force."""

    status: ContainerStatus
    resources: criv1.ContainerResources = field(default_factory=criv1.ContainerResources)

    def to_extension(self) -> TypedValue:
        """The status extension."""
        status = self.status
        value: dict[str, Json] = {
            "phase": status.phase.value,
            "createdAt": status.created_at,
            "startedAt": status.started_at,
            "finishedAt": status.finished_at,
            "exitCode": status.exit_code,
            "reason": status.reason,
            "message": status.message,
            "resources": to_go_json(self.resources),
        }
        return TypedValue(STATUS_TYPE, json.dumps(value).encode())

    @classmethod
    def from_containerd(cls, container: ContainerdContainer) -> StatusRecord | None:
        """Read the status back; None where the extension is absent. Raises BadRecordError naming what is wrong."""
        extension = container.extensions.get(STATUS_EXTENSION)
        if extension is None:
            return None
        try:
            value = cast("Mapping[str, Json]", json.loads(extension.value))
            status = ContainerStatus(
                phase=Phase(value["phase"]),
                created_at=_int(value, "createdAt"),
                started_at=_int(value, "startedAt"),
                finished_at=_int(value, "finishedAt"),
                exit_code=_int(value, "exitCode"),
                reason=str(value.get("reason", "")),
                message=str(value.get("message", "")),
            )
            return cls(status, from_go_json(criv1.ContainerResources, _object(value, "resources")))
        except (KeyError, TypeError, ValueError) as error:
            raise BadRecordError(f"extension {STATUS_EXTENSION}: {error!r}") from error


def sandbox_name(metadata: criv1.PodSandboxMetadata) -> str:
    """The name by which retries of one RunPodSandbox recognise each other (as containerd's CRI writes it)."""
    return "_".join((metadata.name, metadata.namespace, metadata.uid, str(metadata.attempt)))


def container_name(metadata: criv1.ContainerMetadata, sandbox: criv1.PodSandboxMetadata) -> str:
    """The name by which retries of one CreateContainer recognise each other."""
    return "_".join((metadata.name, sandbox.name, sandbox.namespace, sandbox.uid, str(metadata.attempt)))


def containerd_labels(kind: str, *sources: Mapping[str, str]) -> dict[str, str]:
    """Labels of the containerd container, for cAdvisor and node agents: later sources win, our kind over all.

    CRI answers come from the metadata extension, not from these: containerd drops empty labels and refuses long ones.
    """
    merged = {key: value for source in sources for key, value in source.items()} | {KIND_LABEL: kind}
    return {key: value for key, value in merged.items() if key and _bytes(key, value) <= MOST_LABEL_BYTES}


def _bytes(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts)


def _extension(type_url: str, metadata: Mapping[str, Json]) -> TypedValue:
    # json, not a faster encoder: environment values may hold bytes that are no UTF-8 (see go_json).
    return TypedValue(type_url, json.dumps({"Version": RECORD_VERSION, "Metadata": metadata}).encode())


def _metadata(container: ContainerdContainer, name: str) -> Mapping[str, Json]:
    extension = container.extensions.get(name)
    if extension is None:
        raise BadRecordError(f"extension {name} is missing")
    try:
        record = json.loads(extension.value)
        if record["Version"] != RECORD_VERSION:
            raise BadRecordError(
                f"extension {name} has version {record['Version']!r}, expected {RECORD_VERSION!r}"
            )
        return _object(record, "Metadata")
    except (KeyError, TypeError, ValueError) as error:
        raise BadRecordError(f"extension {name}: {error!r}") from error


def _pins(container: ContainerdContainer) -> Pins | None:
    extension = container.extensions.get(PINS_EXTENSION)
    if extension is None or not extension.value:
        return None
    try:
        return Pins.from_extension(extension)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRecordError(f"extension {PINS_EXTENSION}: {error!r}") from error


def _object(data: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    value = data[key]
    if not isinstance(value, Mapping):
        raise TypeError(f"{key} is {type(value).__name__}, expected an object")
    return value


def _int(data: Mapping[str, Json], key: str) -> int:
    value = data[key]
    if not isinstance(value, int):
        raise TypeError(f"{key} is {type(value).__name__}, expected a number")
    return value
