"""The spec of a sandbox's own process (the pause container), from the request and the facts around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.oci import apparmor, cgroups, defaults, mounts, namespaces, oom_score, resources, seccomp, sysctls
from cri.oci.annotations import sandbox_annotations
from cri.oci.process import merge_environment, sandbox_arguments
from cri.oci.refusals import bad_value, check_plain
from cri.oci.selinux import SelinuxLabels
from cri.oci.user import ResolvedUser, process_user

if TYPE_CHECKING:
    from cri.oci.handler import RuntimeHandler
    from cri.oci.host import HostFacts
    from cri.oci.image_defaults import ImageDefaults
    from cri.oci.namespaces import NamespacePaths, UserMappings
    from cri.oci.settings import OciSettings
    from cri.oci.spec import Linux, Mount, Process, Spec

MAX_HOSTNAME = 64


@dataclass(frozen=True, slots=True)
class SandboxSpecInputs:
    """Everything that a sandbox's spec depends on."""

    sandbox_id: str
    config: criv1.PodSandboxConfig
    image: ImageDefaults
    #: Name of the sandbox image, for the annotation.
    image_name: str
    user: ResolvedUser
    handler: RuntimeHandler
    host: HostFacts
    settings: OciSettings
    #: Namespaces that are pinned before the process starts.
    namespaces: NamespacePaths
    #: The generated resolv.conf of the pod; None when there is none to mount.
    resolv_conf_path: str | None
    #: The pod's shm mount; None with host IPC (then the host's /dev/shm).
    shm_path: str | None
    labels: SelinuxLabels = field(default_factory=SelinuxLabels)
    #: Contents of the Localhost seccomp profile, when one is requested (see `seccomp.profile_path`).
    seccomp_profile: bytes | None = None
    #: Names of the AppArmor profiles loaded in the kernel.
    apparmor_profiles: frozenset[str] = frozenset()


def sandbox_spec(inputs: SandboxSpecInputs) -> Spec:
    """The spec for the sandbox's process. Raises InvalidArgument naming the field that cannot be honoured."""
    config, host, settings = inputs.config, inputs.host, inputs.settings
    context = config.linux.security_context
    mappings = namespaces.user_mappings(context.namespace_options)
    namespaces.check_user_namespaces(mappings, inputs.handler)

    spec = defaults.default_spec()
    spec["root"] = {"path": defaults.ROOTFS, "readonly": True}
    spec["process"] = _process(inputs, spec["process"])
    spec["mounts"] = _mounts(inputs, spec["mounts"], mappings)
    spec["linux"] = _linux(inputs, spec["linux"], mappings)
    if context.namespace_options.network != criv1.NODE and config.hostname:
        spec["hostname"] = checked_hostname(config.hostname)
    spec["annotations"] = sandbox_annotations(
        inputs.sandbox_id, config, inputs.image_name, inputs.handler.pod_annotations
    )
    profile = apparmor.sandbox_profile(context, host, settings, inputs.apparmor_profiles)
    if profile is not None:
        spec["process"]["apparmorProfile"] = profile
    seccomp_filter = seccomp.seccomp_filter(
        context, spec["process"]["capabilities"]["bounding"], host, settings, inputs.seccomp_profile
    )
    if seccomp_filter is not None:
        spec["linux"]["seccomp"] = seccomp_filter
    return spec


def checked_hostname(name: str) -> str:
    """`name`, if sethostname(2) takes it."""
    check_plain("config.hostname", name)
    if len(name.encode()) > MAX_HOSTNAME:
        raise bad_value("config.hostname", name, f"of at most {MAX_HOSTNAME} bytes")
    return name


def _process(inputs: SandboxSpecInputs, base: Process) -> Process:
    process: Process = {
        **base,
        "args": sandbox_arguments(inputs.image),
        "env": merge_environment(base["env"], inputs.image.env),
        "cwd": inputs.image.working_dir or base["cwd"],
        "user": process_user(inputs.user),
        "noNewPrivileges": True,
        "oomScoreAdj": oom_score.possible(oom_score.SANDBOX, inputs.host, inputs.settings),
    }
    if inputs.labels.process and not inputs.config.linux.security_context.privileged:
        process["selinuxLabel"] = inputs.labels.process
    return process


def _mounts(inputs: SandboxSpecInputs, base: list[Mount], mappings: UserMappings | None) -> list[Mount]:
    context = inputs.config.linux.security_context
    chosen = mounts.sandbox_mounts(base, inputs.shm_path, inputs.resolv_conf_path)
    if mappings is not None and context.namespace_options.network == criv1.NODE:
        chosen = mounts.with_bound_sys(chosen)
    # One sysfs serves a whole network namespace, and its first mount, which is this, decides for all whether
    # it can be written at all: a privileged container could not make it writable later.
    return mounts.with_writable_kernel(chosen) if context.privileged else chosen


def _linux(inputs: SandboxSpecInputs, base: Linux, mappings: UserMappings | None) -> Linux:
    config = inputs.config.linux
    linux: Linux = {
        **base,
        "cgroupsPath": cgroups.cgroups_path(
            config.cgroup_parent, inputs.sandbox_id, inputs.handler, inputs.settings
        ),
        "namespaces": namespaces.sandbox_namespaces(
            config.security_context.namespace_options, inputs.namespaces
        ),
        "sysctl": sysctls.sandbox_sysctls(inputs.config, inputs.host, inputs.settings),
    }
    linux["resources"]["cpu"] = {"shares": resources.SANDBOX_SHARES}
    if mappings is not None:
        linux["uidMappings"], linux["gidMappings"] = mappings.uids(), mappings.gids()
    if inputs.labels.mount:
        linux["mountLabel"] = inputs.labels.mount
    return linux
