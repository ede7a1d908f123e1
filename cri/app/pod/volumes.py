"""Volumes of a pod and the mounts that its containers make of them. Pure: nothing is created here."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from api.wire import criv1 as cri
from cri.app.pod.plan import HostDirectory, PodPaths

if TYPE_CHECKING:
    from cri.app.pod.fields import Fields

EMPTY_DIR_MODE = 0o777
CREATED_MODE = 0o755
HOST_PATH_TYPES = ("", "Directory", "DirectoryOrCreate", "File", "Socket", "CharDevice", "BlockDevice")
PROPAGATION = {
    "None": cri.PROPAGATION_PRIVATE,
    "HostToContainer": cri.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": cri.PROPAGATION_BIDIRECTIONAL,
}


@dataclass(frozen=True, slots=True)
class Volume:
    """Where a volume is on the host."""

    source: Path
    create: HostDirectory | None
    """The directory to make first, if it is ours to make."""


def volumes(spec: Fields, paths: PodPaths) -> dict[str, Volume]:
    """Read `spec.volumes`. Raises ManifestError for other kinds than emptyDir and hostPath."""
    found: dict[str, Volume] = {}
    for fields in spec.tables("volumes"):
        name = fields.text("name")
        if name in found:
            raise fields.wrong("name", f'there are two volumes "{name}"')
        found[name] = _volume(fields, name, paths)
        fields.finish()
    return found


def mounts(container: Fields, available: dict[str, Volume]) -> list[cri.Mount]:
    """Read a container's `volumeMounts`."""
    made = []
    for fields in container.tables("volumeMounts"):
        name = fields.text("name")
        volume = available.get(name)
        if volume is None:
            raise fields.wrong("name", f'the pod has no volume "{name}"')
        path = fields.text("mountPath")
        if not path.startswith("/"):
            raise fields.wrong("mountPath", f'"{path}" is not an absolute path')
        propagation = fields.text("mountPropagation", "None")
        if propagation not in PROPAGATION:
            raise fields.wrong("mountPropagation", f'"{propagation}" is not one of {", ".join(PROPAGATION)}')
        made.append(
            cri.Mount(
                container_path=path,
                host_path=str(volume.source / _sub_path(fields)),
                readonly=fields.boolean("readOnly", default=False),
                propagation=PROPAGATION[propagation],
            )
        )
        fields.finish()
    return made


def _volume(fields: Fields, name: str, paths: PodPaths) -> Volume:
    if fields.has("hostPath"):
        return _host_path(fields.table("hostPath"))
    if not fields.has("emptyDir"):
        raise fields.wrong(
            "name", f'volume "{name}" must be an emptyDir (write {{}} for its defaults) or a hostPath'
        )
    options = fields.table("emptyDir")
    if options.text("medium", ""):
        raise options.wrong("medium", "is not supported by cri-shim pod")
    options.ignore(["sizeLimit"])
    options.finish()
    directory = HostDirectory(paths.empty_dir(name), EMPTY_DIR_MODE)
    return Volume(directory.path, directory)


def _host_path(fields: Fields) -> Volume:
    path = fields.text("path")
    kind = fields.text("type", "")
    if not path.startswith("/"):
        raise fields.wrong("path", f'"{path}" is not an absolute path')
    if kind not in HOST_PATH_TYPES:
        raise fields.wrong("type", f'"{kind}" is not one of {", ".join(HOST_PATH_TYPES[1:])}')
    fields.finish()
    create = HostDirectory(Path(path), CREATED_MODE) if kind == "DirectoryOrCreate" else None
    return Volume(Path(path), create)


def _sub_path(fields: Fields) -> str:
    sub_path = fields.text("subPath", "")
    normal = posixpath.normpath(sub_path) if sub_path else ""
    if normal.startswith(("/", "..")):
        raise fields.wrong("subPath", f'"{sub_path}" leaves the volume')
    return normal
