"""The spec of a container, from the request and the facts around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from api.wire import criv1
from cri.oci.cdi import CdiRegistry
from cri.oci.devices import DeviceSource, HostDevice
from cri.oci.handler import RuntimeHandler
from cri.oci.host import HostFacts
from cri.oci.image_defaults import ImageDefaults
from cri.oci.mounts import AnonymousVolume, MountSource
from cri.oci.namespaces import NamespacePaths
from cri.oci.selinux import SelinuxLabels
from cri.oci.settings import OciSettings
from cri.oci.spec import Spec
from cri.oci.user import ResolvedUser


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """The sandbox that a container joins. A path that is None is not mounted."""

    id: str
    config: criv1.PodSandboxConfig
    namespaces: NamespacePaths
    resolv_conf_path: str | None = None
    hostname_path: str | None = None
    #: Only when the kubelet does not mount /etc/hosts itself.
    hosts_path: str | None = None
    #: The pod's shm; not used with host IPC, which gets the host's /dev/shm.
    shm_path: str | None = None


@dataclass(frozen=True, slots=True)
class ContainerSpecInputs:
    """Everything that a container's spec depends on. Mappings by path are keyed by the request's spelling."""

    container_id: str
    config: criv1.ContainerConfig
    sandbox: SandboxFacts
    image: ImageDefaults
    #: Name of the image for the annotation: the one the user wrote, else the resolved one.
    image_name: str
    user: ResolvedUser
    handler: RuntimeHandler
    host: HostFacts
    settings: OciSettings
    #: By `host_path` of the request's mounts. A path that is missing here is taken as it is, on a private mount.
    mount_sources: Mapping[str, MountSource] = field(default_factory=dict)
    #: Host directory of each image volume (sub path applied), by `container_path`.
    image_volumes: Mapping[str, str] = field(default_factory=dict)
    #: Directories made for the image's VOLUMEs (see `mounts.anonymous_volume_paths`).
    anonymous_volumes: tuple[AnonymousVolume, ...] = ()
    #: By `host_path` of the request's devices.
    devices: Mapping[str, DeviceSource] = field(default_factory=dict)
    #: Every device node of the host; needed only when `devices.wants_host_devices` says so.
    host_devices: tuple[HostDevice, ...] = ()
    #: `/proc/<pid>/ns/pid` of the container that PID mode TARGET names.
    target_pid_namespace: str | None = None
    labels: SelinuxLabels = field(default_factory=SelinuxLabels)
    #: Contents of the Localhost seccomp profile, when one is requested (see `seccomp.profile_path`).
    seccomp_profile: bytes | None = None
    #: Names of the AppArmor profiles loaded in the kernel.
    apparmor_profiles: frozenset[str] = frozenset()
    #: Devices of the CDI specifications found; None when none were read.
    cdi: CdiRegistry | None = None
    #: Facts on device nodes that CDI edits name without type or numbers (see `cdi.unknown_nodes`).
    cdi_nodes: Mapping[str, HostDevice] = field(default_factory=dict)


def container_spec(inputs: ContainerSpecInputs) -> Spec:
    """The spec for a container. Raises InvalidArgument naming the field that cannot be honoured."""
    raise NotImplementedError
