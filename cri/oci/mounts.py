"""The mounts of sandboxes and containers, in order: kernel file systems, the pod's files, the request's.

A container's mounts are, in this order: the kernel file systems of the starting spec, cgroup, then the pod's
files, the image's anonymous volumes and the request's mounts together, sorted by the depth of their
destination so that none hides another. A mount of the request replaces everything else at its destination.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from api.wire import criv1
from cri.oci.bind_mounts import MountSource as MountSource
from cri.oci.bind_mounts import Propagation as Propagation
from cri.oci.bind_mounts import bind, requested_mount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cri.oci.handler import RuntimeHandler
    from cri.oci.host import HostFacts
    from cri.oci.image_defaults import ImageDefaults
    from cri.oci.namespaces import UserMappings
    from cri.oci.settings import OciSettings
    from cri.oci.spec import Mount

SHM = "/dev/shm"
HOSTNAME = "/etc/hostname"
HOSTS = "/etc/hosts"
RESOLV_CONF = "/etc/resolv.conf"

_INERT = ("nosuid", "nodev", "noexec")

#: Instead of sysfs, which a user namespace may not mount without owning the network namespace.
_BOUND_SYS: Mount = {
    "destination": "/sys",
    "type": "bind",
    "source": "/sys",
    "options": ["rbind", "rro", *_INERT],
}


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
    """The mounts of a container, and the propagation that its root needs for them ("": the default)."""

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
    mounts.append(_inert(shm_path or SHM, SHM))
    if resolv_conf_path is not None:
        mounts.append(_inert(resolv_conf_path, RESOLV_CONF))
    return mounts


def container_mounts(base: Iterable[Mount], files: PodFiles, request: MountRequest) -> ContainerMounts:
    """All mounts of a container on top of `base`, its kernel file systems.

    Raises as `bind_mounts.requested_mount`.
    """
    asked = [
        requested_mount(mount, request.sources, request.image_volumes, request.handler)
        for mount in request.mounts
    ]
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
    return destination in taken or ("/dev" in taken and destination.startswith("/dev/"))


def _inert(source: str, destination: str) -> Mount:
    return {"destination": destination, "type": "bind", "source": source, "options": ["rbind", "ro", *_INERT]}


def _pod_files(files: PodFiles, request: MountRequest) -> Iterable[Mount]:
    writable = "ro" if request.readonly_rootfs else "rw"
    shown = ((HOSTNAME, files.hostname), (HOSTS, files.hosts), (RESOLV_CONF, files.resolv_conf))
    for destination, source in shown:
        if source is not None:
            yield _mapped(bind(source, destination, "rprivate", writable), request.user_mappings)
    if files.shm is not None:
        # Not mapped: kernels before 6.3 cannot map ids on tmpfs, and it starts empty.
        yield bind(files.shm, SHM, "rprivate", "rw")


def _anonymous(request: MountRequest) -> Iterable[Mount]:
    for volume in request.anonymous_volumes:
        yield _mapped(bind(volume.source, volume.destination, "rprivate", "rw"), request.user_mappings)


def _mapped(mount: Mount, mappings: UserMappings | None) -> Mount:
    if mappings is not None:
        mount["uidMappings"], mount["gidMappings"] = mappings.uids(), mappings.gids()
    return mount
