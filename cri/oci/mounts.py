"""The mounts of sandboxes and containers: the pod's files, the request's mounts, and their options.

A container's mounts are, in this order: the kernel file systems of the starting spec, cgroup, then the pod's
files, the image's anonymous volumes and the request's mounts together, sorted by the depth of their destination so
that none hides another. A mount of the request replaces everything else at its destination.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from api.wire import criv1
from cri.errors import InvalidArgument, Unimplemented
from cri.oci.refusals import bad_value, check_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cri.oci.handler import RuntimeHandler
    from cri.oci.host import HostFacts
    from cri.oci.image_defaults import ImageDefaults
    from cri.oci.namespaces import UserMappings
    from cri.oci.settings import OciSettings
    from cri.oci.spec import IdMapping, Mount

Propagation = Literal["private", "slave", "shared"]

#: cri-api's prefix for refused recursive read-only mounts; the kubelet looks for it at the start of the message.
RRO_UNSUPPORTED = "RROUnsupported"

#: Likewise for volumes that are images.
IMAGE_VOLUME_FAILED = "ImageVolumeMountFailed"

SHM = "/dev/shm"
HOSTNAME = "/etc/hostname"
HOSTS = "/etc/hosts"
RESOLV_CONF = "/etc/resolv.conf"

_FIELD = "config.mounts"
_INERT = ("nosuid", "nodev", "noexec")

#: Instead of sysfs, which a user namespace may not mount without owning the network namespace.
_BOUND_SYS: Mount = {
    "destination": "/sys",
    "type": "bind",
    "source": "/sys",
    "options": ["rbind", "rro", *_INERT],
}


@dataclass(frozen=True, slots=True)
class MountSource:
    """What the kernel says of a requested `host_path` (made by the caller as a directory if missing)."""

    #: The path with all links resolved.
    path: str
    #: Mount point that the path lies on, for messages.
    mount_point: str = "/"
    #: Of that mount: `shared` when its mountinfo line has shared:N, else `slave` for master:N.
    propagation: Propagation = "private"


@dataclass(frozen=True, slots=True)
class AnonymousVolume:
    """A directory of the container's own for a VOLUME of its image."""

    destination: str
    source: str


@dataclass(frozen=True, slots=True)
class PodFiles:
    """Files of the sandbox that its containers see; None is not mounted."""

    hostname: str | None = None
    hosts: str | None = None
    resolv_conf: str | None = None
    shm: str | None = None


@dataclass(frozen=True, slots=True)
class ContainerMounts:
    """The mounts of a container, and the propagation that its root must have for them ("" for the default)."""

    mounts: list[Mount]
    rootfs_propagation: Literal["", "rslave", "rshared"]


@dataclass(frozen=True, slots=True)
class MountRequest:
    """A container's mounts as asked for, and the facts about their sources."""

    mounts: Sequence[criv1.Mount]
    sources: Mapping[str, MountSource]
    image_volumes: Mapping[str, str]
    anonymous_volumes: Sequence[AnonymousVolume]
    readonly_rootfs: bool
    handler: RuntimeHandler
    user_mappings: UserMappings | None


def sandbox_mounts(base: Iterable[Mount], shm_path: str | None, resolv_conf_path: str | None) -> list[Mount]:
    """Mounts of the sandbox's own process: shared memory and resolv.conf, read-only, for VM runtimes.

    `shm_path` None stands for the host's /dev/shm. The flags are those that a user namespace cannot drop.
    """
    mounts = [mount for mount in base if clean(mount["destination"]) not in (SHM, "/run")]
    mounts.append(_inert_bind(shm_path or SHM, SHM))
    if resolv_conf_path is not None:
        mounts.append(_inert_bind(resolv_conf_path, RESOLV_CONF))
    return mounts


def container_mounts(base: Iterable[Mount], files: PodFiles, request: MountRequest) -> ContainerMounts:
    """All mounts of a container on top of `base`, its kernel file systems.

    Raises InvalidArgument for a mount that cannot be as asked for, and Unimplemented, with the prefix that the
    kubelet knows, for a recursive read-only mount that the handler cannot do.
    """
    asked = [_requested(mount, request) for mount in request.mounts]
    taken = {clean(mount["destination"]) for mount in asked}
    extra = [*_pod_files(files, request), *_anonymous(request)]
    asked += [mount for mount in extra if clean(mount["destination"]) not in taken]
    asked.sort(key=lambda mount: clean(mount["destination"]).count("/"))
    taken.update(clean(mount["destination"]) for mount in asked)
    kept = [mount for mount in base if not _overridden(clean(mount["destination"]), taken)]
    modes = {mount.propagation for mount in request.mounts}
    propagation: Literal["", "rslave", "rshared"] = ""
    if criv1.PROPAGATION_BIDIRECTIONAL in modes:
        propagation = "rshared"
    elif criv1.PROPAGATION_HOST_TO_CONTAINER in modes:
        propagation = "rslave"
    return ContainerMounts([*kept, *asked], propagation)


def without_run(base: Iterable[Mount]) -> list[Mount]:
    """`base` without a tmpfs on /run, which images bring themselves and pods mount into."""
    return [mount for mount in base if clean(mount["destination"]) != "/run"]


def cgroup_mount(host: HostFacts, handler: RuntimeHandler, *, own_namespace: bool) -> Mount:
    """The container's view of its cgroups; without a cgroup namespace the host's mount options are kept.

    A cgroup2 mount outside of a cgroup namespace is the host's one superblock, and options left out are lost
    for the whole host.
    """
    options = ["nosuid", "noexec", "nodev", "relatime", "rw" if handler.cgroup_writable else "ro"]
    if not own_namespace:
        kept = ("nsdelegate", "memory_recursiveprot")
        options += [option for option in host.cgroup_mount_options if option in kept]
    return {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}


def with_writable_kernel(mounts: Iterable[Mount]) -> list[Mount]:
    """`mounts` with /sys and cgroups writable, for a privileged container."""
    return [
        {**mount, "options": ["rw" if option == "ro" else option for option in mount.get("options", ())]}
        if mount.get("type") in ("sysfs", "cgroup")
        else mount
        for mount in mounts
    ]


def with_bound_sys(mounts: Iterable[Mount]) -> list[Mount]:
    """`mounts` with /sys bound from the host, for a user namespace on the host's network."""
    return [*(mount for mount in mounts if clean(mount["destination"]) != "/sys"), _BOUND_SYS]


def anonymous_volume_paths(
    image: ImageDefaults, mounts: Iterable[criv1.Mount], settings: OciSettings
) -> tuple[str, ...]:
    """Destinations of the image's VOLUMEs for which the caller must make a directory."""
    if settings.ignore_image_defined_volumes:
        return ()
    taken = {clean(mount.container_path) for mount in mounts}
    return tuple(sorted({clean("/" + path) for path in image.volumes} - taken))


def clean(path: str) -> str:
    """`path` without double slashes, dots and a slash at its end."""
    return posixpath.normpath("/" + path.lstrip("/") if path.startswith("/") else path)


def _overridden(destination: str, taken: set[str]) -> bool:
    return destination in taken or "/dev" in taken and destination.startswith("/dev/")


def _inert_bind(source: str, destination: str) -> Mount:
    return {"destination": destination, "type": "bind", "source": source, "options": ["rbind", "ro", *_INERT]}


def _bind(source: str, destination: str, *options: str) -> Mount:
    return {"destination": destination, "type": "bind", "source": source, "options": ["rbind", *options]}


def _pod_files(files: PodFiles, request: MountRequest) -> Iterable[Mount]:
    writable = "ro" if request.readonly_rootfs else "rw"
    shown = ((HOSTNAME, files.hostname), (HOSTS, files.hosts), (RESOLV_CONF, files.resolv_conf))
    for destination, source in shown:
        if source is not None:
            yield _mapped(_bind(source, destination, "rprivate", writable), request.user_mappings)
    if files.shm is not None:
        # Not mapped: kernels before 6.3 cannot map ids on tmpfs, and it starts empty.
        yield _bind(files.shm, SHM, "rprivate", "rw")


def _anonymous(request: MountRequest) -> Iterable[Mount]:
    for volume in request.anonymous_volumes:
        yield _mapped(_bind(volume.source, volume.destination, "rprivate", "rw"), request.user_mappings)


def _mapped(mount: Mount, mappings: UserMappings | None) -> Mount:
    if mappings is not None:
        mount["uidMappings"], mount["gidMappings"] = mappings.uids(), mappings.gids()
    return mount


def _requested(mount: criv1.Mount, request: MountRequest) -> Mount:
    check_text(f"{_FIELD}.container_path", mount.container_path)
    check_text(f"{_FIELD}.host_path", mount.host_path)
    if not mount.container_path.startswith("/"):
        raise bad_value(f"{_FIELD}.container_path", mount.container_path, "an absolute path")
    if mount.HasField("image"):
        return _image_volume(mount, request)
    if not mount.host_path.startswith("/"):
        raise bad_value(f"{_FIELD}.host_path", mount.host_path, "an absolute path")
    if mount.image_sub_path:
        raise bad_value(
            f"{_FIELD}.image_sub_path", mount.image_sub_path, "empty for a mount without an image"
        )
    source = request.sources.get(mount.host_path, MountSource(mount.host_path))
    bind = _bind(
        source.path, mount.container_path, _propagation(mount, source), _read_only(mount, request.handler)
    )
    uids, gids = (_id_mappings(mount, name) for name in ("uidMappings", "gidMappings"))
    if bool(uids) != bool(gids):
        raise bad_value(
            f"{_FIELD}.gidMappings", len(gids), f"given when uidMappings are ({mount.container_path})"
        )
    if uids:
        bind["uidMappings"], bind["gidMappings"] = uids, gids
    return bind


def _image_volume(mount: criv1.Mount, request: MountRequest) -> Mount:
    """A mount of an image; ids are already shifted in its snapshot, so the mount itself maps none."""
    where = f"{IMAGE_VOLUME_FAILED}: {_FIELD} at {mount.container_path}"
    if mount.host_path:
        raise bad_value(f"{where}, host_path", mount.host_path, "empty for a mount of an image")
    if not mount.readonly:
        raise bad_value(f"{where}, readonly", mount.readonly, "true for a mount of an image")
    source = request.image_volumes.get(mount.container_path)
    if source is None:
        raise bad_value(f"{where}, image", mount.image.image, "an image that is pulled and mounted")
    propagation = _propagation(mount, MountSource(source))
    return _bind(source, mount.container_path, propagation, _read_only(mount, request.handler))


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
            f"{RRO_UNSUPPORTED}: runtime handler {handler.name!r} does not support recursive read-only mounts "
            f"(container_path {mount.container_path!r}); it needs runc 1.1 and Linux 5.12 or later"
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
