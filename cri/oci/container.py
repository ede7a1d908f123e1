"""The spec of a container, from the request and the facts around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci import (
    apparmor,
    cgroups,
    defaults,
    mounts,
    namespaces,
    oom_score,
    resources,
    seccomp,
)
from cri.oci import process as process_aspect
from cri.oci.annotations import container_annotations
from cri.oci.capabilities import container_capabilities
from cri.oci.cdi import requested_edits
from cri.oci.cdi_edits import apply_edits
from cri.oci.devices import DeviceSource, HostDevice, container_devices
from cri.oci.masked_paths import apply_masked_paths
from cri.oci.mounts import AnonymousVolume, ContainerMounts, MountRequest, MountSource, PodFiles
from cri.oci.selinux import SelinuxLabels
from cri.oci.user import ResolvedUser, process_user

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cri.oci.cdi import CdiRegistry
    from cri.oci.handler import RuntimeHandler
    from cri.oci.host import HostFacts
    from cri.oci.image_defaults import ImageDefaults
    from cri.oci.namespaces import NamespacePaths, UserMappings
    from cri.oci.settings import OciSettings
    from cri.oci.spec import Linux, Mount, Namespace, Process, Spec


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
    #: By `host_path` of the request's mounts. One missing here is taken as it is, on a private mount.
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
    context = inputs.config.linux.security_context
    _check_privileged(inputs)
    mappings = namespaces.user_mappings(context.namespace_options)
    namespaces.check_user_namespaces(mappings, inputs.handler)

    spec = defaults.starting_spec(inputs.handler)
    spec["root"] = {"path": defaults.ROOTFS, "readonly": context.readonly_rootfs}
    spec["process"] = _process(inputs, spec["process"])
    linux = spec["linux"] = _linux(inputs, spec["linux"], mappings)
    chosen = _mounts(inputs, spec["mounts"], linux["namespaces"], mappings)
    spec["mounts"] = chosen.mounts
    if chosen.rootfs_propagation:
        linux["rootfsPropagation"] = chosen.rootfs_propagation
    spec["annotations"] = spec.get("annotations", {}) | container_annotations(
        inputs.sandbox.id,
        inputs.sandbox.config,
        inputs.config,
        inputs.image_name,
        inputs.handler.pod_annotations,
        inputs.handler.container_annotations,
    )
    _confine(spec, inputs)
    edits = requested_edits(inputs.config, inputs.cdi, inputs.settings)
    apply_edits(spec, edits, inputs.cdi_nodes, inputs.handler)
    return spec


def _check_privileged(inputs: ContainerSpecInputs) -> None:
    pod = inputs.sandbox.config.linux.security_context
    if inputs.config.linux.security_context.privileged and not pod.privileged:
        raise InvalidArgument(
            "config.linux.security_context.privileged: no privileged container is allowed in this sandbox; "
            "the sandbox itself must be privileged"
        )


def _process(inputs: ContainerSpecInputs, base: Process) -> Process:
    config, image, context = inputs.config, inputs.image, inputs.config.linux.security_context
    hostname = inputs.sandbox.config.hostname or inputs.host.hostname
    process: Process = {
        **base,
        "terminal": config.tty,
        "args": process_aspect.arguments(config, image),
        "env": process_aspect.environment([defaults.PATH, *base["env"]], config, image, hostname),
        "cwd": process_aspect.working_directory(config, image, base["cwd"]),
        "user": process_user(inputs.user),
        "capabilities": container_capabilities(context, base.get("capabilities", {}), inputs.host),
        "noNewPrivileges": context.no_new_privs,
    }
    if config.linux.HasField("resources"):
        process["oomScoreAdj"] = oom_score.container_value(
            config.linux.resources.oom_score_adj, inputs.host, inputs.settings
        )
    return process


def _linux(inputs: ContainerSpecInputs, base: Linux, mappings: UserMappings | None) -> Linux:
    sandbox = inputs.sandbox.config.linux
    context = inputs.config.linux.security_context
    chosen = namespaces.container_namespaces(
        context.namespace_options,
        sandbox.security_context.namespace_options,
        inputs.sandbox.namespaces,
        inputs.target_pid_namespace,
    )
    # On v1 tools in the image expect to see the real hierarchy; a privileged container is to see the host's.
    if inputs.host.cgroup_version == 2 and not context.privileged:
        chosen.append({"type": "cgroup"})
    linux: Linux = {
        **base,
        "cgroupsPath": cgroups.cgroups_path(
            sandbox.cgroup_parent, inputs.container_id, inputs.handler, inputs.settings
        ),
        "namespaces": namespaces.with_namespaces(base.get("namespaces", ()), chosen),
        "resources": resources.container_resources(
            inputs.config.linux.resources, base["resources"], inputs.host, inputs.settings
        ),
    }
    if mappings is not None:
        linux["uidMappings"], linux["gidMappings"] = mappings.uids(), mappings.gids()
    if inputs.labels.mount:
        linux["mountLabel"] = inputs.labels.mount
    apply_masked_paths(linux, context, inputs.settings)
    _add_devices(linux, inputs)
    return linux


def _add_devices(linux: Linux, inputs: ContainerSpecInputs) -> None:
    chosen = container_devices(
        inputs.config, inputs.devices, inputs.host_devices, inputs.handler, inputs.settings
    )
    if nodes := [*linux.get("devices", ()), *chosen.nodes]:
        linux["devices"] = nodes
    so_far = () if chosen.replaces else linux["resources"].get("devices", ())
    linux["resources"]["devices"] = [*so_far, *chosen.rules]


def _mounts(
    inputs: ContainerSpecInputs,
    base: list[Mount],
    container_namespaces: list[Namespace],
    mappings: UserMappings | None,
) -> ContainerMounts:
    context, sandbox = inputs.config.linux.security_context, inputs.sandbox
    options = sandbox.config.linux.security_context.namespace_options
    own_cgroups = any(namespace["type"] == "cgroup" for namespace in container_namespaces)
    kernel = mounts.without_run(base)
    if mappings is not None and options.network == criv1.NODE:
        kernel = mounts.with_bound_sys(kernel)
    kernel.append(mounts.cgroup_mount(inputs.host, inputs.handler, own_namespace=own_cgroups))
    if context.privileged:
        kernel = mounts.with_writable_kernel(kernel)
    files = PodFiles(
        hostname=sandbox.hostname_path,
        hosts=sandbox.hosts_path,
        resolv_conf=sandbox.resolv_conf_path,
        shm=mounts.SHM if options.ipc == criv1.NODE else sandbox.shm_path,
    )
    request = MountRequest(
        mounts=inputs.config.mounts,
        sources=inputs.mount_sources,
        image_volumes=inputs.image_volumes,
        anonymous_volumes=inputs.anonymous_volumes,
        readonly_rootfs=context.readonly_rootfs,
        handler=inputs.handler,
        user_mappings=mappings,
    )
    return mounts.container_mounts(kernel, files, request)


def _confine(spec: Spec, inputs: ContainerSpecInputs) -> None:
    """Seccomp, AppArmor and SELinux; a base spec's own choices stay where the request makes none."""
    context, host, settings = inputs.config.linux.security_context, inputs.host, inputs.settings
    process, linux = spec["process"], spec["linux"]
    if context.privileged:
        process.pop("apparmorProfile", None)
        process.pop("selinuxLabel", None)
        linux.pop("seccomp", None)
    elif inputs.labels.process:
        process["selinuxLabel"] = inputs.labels.process
    profile = apparmor.container_profile(context, host, settings, inputs.apparmor_profiles)
    if profile is not None:
        process["apparmorProfile"] = profile
    seccomp_filter = seccomp.seccomp_filter(
        context, process["capabilities"]["bounding"], host, settings, inputs.seccomp_profile
    )
    if seccomp_filter is not None:
        linux["seccomp"] = seccomp_filter
