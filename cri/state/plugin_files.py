"""What containerd's CRI plugin keeps in files, in its form: where they are, and a container's status. Pure.

The plugin's records in containerd are those of `cri.state.records`. Beside them it has, below containerd's root and
state directories and under the same name in containerd 1.6 to 2.x:

    <root>/io.containerd.grpc.v1.cri/containers/<id>/status        JSON; the times in it tell the state
    <root>/io.containerd.grpc.v1.cri/sandboxes/<id>/               hostname, hosts, resolv.conf
    <state>/io.containerd.grpc.v1.cri/sandboxes/<id>/shm           the mount of the pod's /dev/shm

It reads them when it starts, and only then. FIFOs it finds as anybody does: containerd's tasks name them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from api.wire import criv1
from cri.state.container_status import ContainerStatus, Phase
from cri.state.go_json import from_go_json, to_go_json
from cri.state.records import RECORD_VERSION, BadRecordError, StatusRecord

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from api.containerd.introspection import Plugin
    from cri.state.go_json import Json

DIRECTORY = "io.containerd.grpc.v1.cri"
TASKS = "io.containerd.runtime.v2.task"
"""Where containerd's shims have their bundles, below the state directory."""
POD_FILES = ("hostname", "hosts", "resolv.conf")
_ORDER = (Phase.CREATED, Phase.STARTING, Phase.UNKNOWN, Phase.RUNNING, Phase.EXITED)


@dataclass(frozen=True, slots=True)
class PluginFiles:
    """The plugin's directories below those of containerd."""

    root: Path
    """containerd's root directory."""

    @property
    def containers(self) -> Path:
        """A directory for each container."""
        return self.root / DIRECTORY / "containers"

    @property
    def sandboxes(self) -> Path:
        """A directory for each pod sandbox."""
        return self.root / DIRECTORY / "sandboxes"

    def status(self, container_id: str) -> Path:
        """The status of a container."""
        return self.containers / container_id / "status"


def is_loaded(plugins: Iterable[Plugin]) -> bool:
    """Whether the CRI plugin is among the plugins that work."""
    return any(
        plugin.type == "io.containerd.grpc.v1" and plugin.id == "cri" and plugin.error is None
        for plugin in plugins
    )


def containerd_root(plugins: Iterable[Plugin]) -> Path | None:
    """containerd's root directory, from what its snapshotters say of theirs."""
    for plugin in plugins:
        directory = Path(plugin.exports.get("root", ""))
        if directory.name == f"{plugin.type}.{plugin.id}":
            return directory.parent
    return None


def containerd_state(mount_points: Iterable[str], namespace: str, ids: Container[str]) -> Path | None:
    """containerd's state directory, from where the root filesystems of its tasks are mounted.

    `ids` are its containers: other containerds on this machine have mounts alike.
    """
    for point in mount_points:
        before, _, rest = point.partition(f"/{TASKS}/{namespace}/")
        if rest.endswith("/rootfs") and rest.removesuffix("/rootfs") in ids:
            return Path(before)
    return None


def shared_memory(mount_points: Iterable[str]) -> dict[str, Path]:
    """The plugin's mounts of /dev/shm by sandbox id."""
    found = {}
    for point in mount_points:
        _, plugin, rest = point.partition(f"/{DIRECTORY}/sandboxes/")
        if plugin and rest.endswith("/shm"):
            found[rest.removesuffix("/shm")] = Path(point)
    return found


def parse_status(data: bytes) -> StatusRecord:
    """Read a status file. Raises BadRecordError naming what is wrong."""
    try:
        value = cast("Mapping[str, Json]", json.loads(data))
        if value["Version"] != RECORD_VERSION:
            raise BadRecordError(f"status has version {value['Version']!r}, expected {RECORD_VERSION!r}")
        created, started, finished = (
            _time(value, f"{name}At") for name in ("Created", "Started", "Finished")
        )
        phase = Phase.EXITED if finished else Phase.RUNNING if started else Phase.CREATED
        status = ContainerStatus(
            phase=phase,
            created_at=created,
            started_at=started,
            finished_at=finished,
            exit_code=_time(value, "ExitCode"),
            reason=str(value.get("Reason") or ""),
            message=str(value.get("Message") or ""),
            pid=_time(value, "Pid") if phase is Phase.RUNNING else 0,
        )
        resources = cast("Mapping[str, Json]", value.get("Resources") or {})
        return StatusRecord(status, from_go_json(criv1.ContainerResources, resources))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadRecordError(f"status: {error!r}") from error


def render_status(stored: StatusRecord) -> bytes:
    """A status file that the plugin reads as the same status."""
    status = stored.status
    value: dict[str, Json] = {
        "Version": RECORD_VERSION,
        "Pid": status.pid,
        "CreatedAt": status.created_at,
        "StartedAt": status.started_at,
        "FinishedAt": status.finished_at,
        "ExitCode": status.exit_code,
        "Reason": status.reason,
        "Message": status.message,
        "Resources": to_go_json(stored.resources) or None,
    }
    return json.dumps(value).encode()


def later(ours: StatusRecord | None, theirs: StatusRecord | None) -> StatusRecord | None:
    """Of two statuses of one container the one that is further in its life; ours if they are equally far."""
    if ours is None or theirs is None:
        return ours or theirs
    return theirs if _ORDER.index(theirs.status.phase) > _ORDER.index(ours.status.phase) else ours


def _time(value: Mapping[str, Json], key: str) -> int:
    number = value.get(key) or 0
    if not isinstance(number, int):
        raise TypeError(f"{key} is {type(number).__name__}, expected a number")
    return max(number, 0)
