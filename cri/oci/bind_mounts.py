"""The mounts that a request asks for: sources, propagation, read-only modes, images and id mappings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from api.wire import criv1
from cri.errors import InvalidArgument, Unimplemented
from cri.oci.refusals import bad_value, check_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cri.oci.handler import RuntimeHandler
    from cri.oci.spec import IdMapping, Mount

Propagation = Literal["private", "slave", "shared"]

#: cri-api's prefix for refused recursive read-only mounts, which the kubelet looks for.
RRO_UNSUPPORTED = "RROUnsupported"

#: Likewise for volumes that are images.
IMAGE_VOLUME_FAILED = "ImageVolumeMountFailed"

_FIELD = "config.mounts"


@dataclass(frozen=True, slots=True)
class MountSource:
    """What the kernel says of a requested `host_path` (made by the caller as a directory if missing)."""

    #: The path with all links resolved.
    path: str
    #: Mount point that the path lies on, for messages.
    mount_point: str = "/"
    #: Of that mount: `shared` when its mountinfo line has shared:N, else `slave` for master:N.
    propagation: Propagation = "private"


def bind(source: str, destination: str, *options: str) -> Mount:
    """A recursive bind mount."""
    return {"destination": destination, "type": "bind", "source": source, "options": ["rbind", *options]}


def requested_mount(
    mount: criv1.Mount,
    sources: Mapping[str, MountSource],
    image_volumes: Mapping[str, str],
    handler: RuntimeHandler,
) -> Mount:
    """The bind mount that `mount` asks for; `image_volumes` are the directories of images by container path.

    Raises InvalidArgument for a mount that cannot be as asked for, and Unimplemented, with the prefix that
    the kubelet knows, for a recursive read-only mount that the handler cannot do.
    """
    check_text(f"{_FIELD}.container_path", mount.container_path)
    check_text(f"{_FIELD}.host_path", mount.host_path)
    if not mount.container_path.startswith("/"):
        raise bad_value(f"{_FIELD}.container_path", mount.container_path, "an absolute path")
    if mount.HasField("image"):
        return _image_volume(mount, image_volumes, handler)
    if not mount.host_path.startswith("/"):
        raise bad_value(f"{_FIELD}.host_path", mount.host_path, "an absolute path")
    if mount.image_sub_path:
        raise bad_value(
            f"{_FIELD}.image_sub_path", mount.image_sub_path, "empty for a mount without an image"
        )
    source = sources.get(mount.host_path, MountSource(mount.host_path))
    mounted = bind(source.path, mount.container_path, _propagation(mount, source), _read_only(mount, handler))
    uids, gids = (_id_mappings(mount, name) for name in ("uidMappings", "gidMappings"))
    if bool(uids) != bool(gids):
        raise bad_value(f"{_FIELD}.gidMappings", len(gids), "given exactly when uidMappings are")
    if uids:
        # An older runtime would mount it without them, and not say so.
        if not handler.user_namespaces:
            raise bad_value(
                f"{_FIELD}.uidMappings",
                f"{len(uids)} mappings at {mount.container_path}",
                f"empty, since runtime handler {handler.name!r} maps no ids here (see its features in the status)",
            )
        mounted["uidMappings"], mounted["gidMappings"] = uids, gids
    return mounted


def _image_volume(mount: criv1.Mount, image_volumes: Mapping[str, str], handler: RuntimeHandler) -> Mount:
    """A mount of an image; ids are already shifted in its snapshot, so the mount itself maps none."""
    where = f"{IMAGE_VOLUME_FAILED}: {_FIELD} at {mount.container_path}"
    if mount.host_path:
        raise bad_value(f"{where}, host_path", mount.host_path, "empty for a mount of an image")
    if not mount.readonly:
        raise bad_value(f"{where}, readonly", mount.readonly, "true for a mount of an image")
    source = image_volumes.get(mount.container_path)
    if source is None:
        raise bad_value(f"{where}, image", mount.image.image, "an image that is pulled and mounted")
    propagation = _propagation(mount, MountSource(source))
    return bind(source, mount.container_path, propagation, _read_only(mount, handler))


def _propagation(mount: criv1.Mount, source: MountSource) -> str:
    """The bind's propagation; the source's mount must be able to pass events on (mount_namespaces(7))."""
    field = f"{_FIELD}.propagation"
    if mount.propagation == criv1.PROPAGATION_PRIVATE:
        return "rprivate"
    lies = f"path {mount.host_path!r} is mounted on {source.mount_point!r}"
    if mount.propagation == criv1.PROPAGATION_HOST_TO_CONTAINER:
        if source.propagation == "private":
            raise InvalidArgument(
                f"{field}: PROPAGATION_HOST_TO_CONTAINER: {lies} but it is not a shared or slave mount; "
                f"make it one with: mount --make-rshared {source.mount_point}"
            )
        return "rslave"
    if mount.propagation == criv1.PROPAGATION_BIDIRECTIONAL:
        if source.propagation != "shared":
            raise InvalidArgument(
                f"{field}: PROPAGATION_BIDIRECTIONAL: {lies} but it is not a shared mount; "
                f"make it one with: mount --make-rshared {source.mount_point}"
            )
        return "rshared"
    raise bad_value(field, mount.propagation, "PRIVATE (0), HOST_TO_CONTAINER (1) or BIDIRECTIONAL (2)")


def _read_only(mount: criv1.Mount, handler: RuntimeHandler) -> str:
    """`rw`, `ro` or `rro`; the kubelet resolves its "IfPossible" by the handler's features beforehand."""
    field = f"{_FIELD}.recursive_read_only"
    if not mount.recursive_read_only:
        return "ro" if mount.readonly else "rw"
    if not mount.readonly:
        raise InvalidArgument(f"{field}: mount at {mount.container_path!r} must be readonly as well")
    if not handler.recursive_read_only_mounts:
        raise Unimplemented(
            f"{RRO_UNSUPPORTED}: runtime handler {handler.name!r} has no recursive read-only mounts "
            f"(container_path {mount.container_path!r}); they need runc 1.1 and Linux 5.12 or later"
        )
    if mount.propagation != criv1.PROPAGATION_PRIVATE:
        raise InvalidArgument(f"{field}: mount at {mount.container_path!r} must have PROPAGATION_PRIVATE")
    return "rro"


def _id_mappings(mount: criv1.Mount, name: Literal["uidMappings", "gidMappings"]) -> list[IdMapping]:
    mappings = mount.uidMappings if name == "uidMappings" else mount.gidMappings
    for mapping in mappings:
        if mapping.length < 1:
            raise bad_value(f"{_FIELD}.{name}.length", mapping.length, "at least 1")
    return [
        {"containerID": mapping.container_id, "hostID": mapping.host_id, "size": mapping.length}
        for mapping in mappings
    ]
