"""Pod and container security contexts as the CRI takes them. Pure; the rules are the kubelet's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.wire import criv1 as cri

if TYPE_CHECKING:
    from cri.app.pod.fields import Fields

MASKED_PATHS = (
    *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug"),
    *(
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ),
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""What the kubelet asks for unless procMount is Unmasked."""
GROUPS_POLICIES = {"Merge": cri.Merge, "Strict": cri.Strict}
SECCOMP_TYPES = {
    "RuntimeDefault": cri.SecurityProfile.RuntimeDefault,
    "Unconfined": cri.SecurityProfile.Unconfined,
    "Localhost": cri.SecurityProfile.Localhost,
}


@dataclass(frozen=True, slots=True)
class PodSecurity:
    """What a pod's security context says to all of its containers."""

    run_as_user: int | None
    run_as_group: int | None
    run_as_non_root: bool
    groups: tuple[int, ...]
    groups_policy: cri.SupplementalGroupsPolicy.ValueType
    seccomp: cri.SecurityProfile | None
    sysctls: dict[str, str]
    namespaces: cri.NamespaceOption


def pod_security(spec: Fields) -> PodSecurity:
    """Read `spec.securityContext` and the pod's namespace switches."""
    fields = spec.table("securityContext")
    policy = fields.text("supplementalGroupsPolicy", "Merge")
    if policy not in GROUPS_POLICIES:
        raise fields.wrong("supplementalGroupsPolicy", f'"{policy}" is neither Merge nor Strict')
    security = PodSecurity(
        run_as_user=fields.integer("runAsUser", None),
        run_as_group=fields.integer("runAsGroup", None),
        run_as_non_root=fields.boolean("runAsNonRoot", default=False),
        groups=tuple(fields.integers("supplementalGroups")),
        groups_policy=GROUPS_POLICIES[policy],
        seccomp=_seccomp(fields),
        sysctls=_sysctls(fields),
        namespaces=_namespaces(spec),
    )
    fields.finish()
    return security


def sandbox_context(pod: PodSecurity, *, privileged: bool) -> cri.LinuxSandboxSecurityContext:
    """The sandbox's context; `privileged` if any container is."""
    made = cri.LinuxSandboxSecurityContext(
        namespace_options=pod.namespaces,
        supplemental_groups=pod.groups,
        supplemental_groups_policy=pod.groups_policy,
        privileged=privileged,
        seccomp=cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault),
    )
    _set_ids(made, pod.run_as_user, pod.run_as_group)
    return made


def container_context(fields: Fields, pod: PodSecurity) -> cri.LinuxContainerSecurityContext:
    """Read a container's `securityContext`; what it leaves open comes from the pod's."""
    user = fields.integer("runAsUser", pod.run_as_user)
    if fields.boolean("runAsNonRoot", pod.run_as_non_root) and not user:
        raise fields.wrong("runAsNonRoot", "is true, so runAsUser must say which user, and not 0")
    capabilities = fields.table("capabilities")
    mount = fields.text("procMount", "Default")
    if mount not in {"Default", "Unmasked"}:
        raise fields.wrong("procMount", f'"{mount}" is neither Default nor Unmasked')
    privileged = fields.boolean("privileged", default=False)
    masked = mount == "Default" and not privileged
    made = cri.LinuxContainerSecurityContext(
        privileged=privileged,
        namespace_options=pod.namespaces,
        readonly_rootfs=fields.boolean("readOnlyRootFilesystem", default=False),
        no_new_privs=not fields.boolean("allowPrivilegeEscalation", default=True),
        supplemental_groups=pod.groups,
        supplemental_groups_policy=pod.groups_policy,
        capabilities=cri.Capability(
            add_capabilities=capabilities.texts("add"), drop_capabilities=capabilities.texts("drop")
        ),
        masked_paths=MASKED_PATHS if masked else (),
        readonly_paths=READONLY_PATHS if masked else (),
        seccomp=_seccomp(fields) or pod.seccomp,
    )
    _set_ids(made, user, fields.integer("runAsGroup", pod.run_as_group))
    capabilities.finish()
    fields.finish()
    return made


def _set_ids(
    made: cri.LinuxSandboxSecurityContext | cri.LinuxContainerSecurityContext,
    user: int | None,
    group: int | None,
) -> None:
    if user is not None:
        made.run_as_user.value = user
    if group is not None:
        made.run_as_group.value = group


def _seccomp(fields: Fields) -> cri.SecurityProfile | None:
    profile = fields.table("seccompProfile")
    kind = profile.text("type", None)
    file = profile.text("localhostProfile", "")
    profile.finish()
    if kind is None:
        return None
    if kind not in SECCOMP_TYPES:
        raise profile.wrong("type", f'"{kind}" is not RuntimeDefault, Unconfined or Localhost')
    if (kind == "Localhost") != bool(file):
        raise profile.wrong("localhostProfile", "belongs to type Localhost, and only to it")
    return cri.SecurityProfile(profile_type=SECCOMP_TYPES[kind], localhost_ref=file)


def _sysctls(fields: Fields) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in fields.tables("sysctls"):
        found[each.text("name")] = each.text("value")
        each.finish()
    return found


def _namespaces(spec: Fields) -> cri.NamespaceOption:
    pid = cri.CONTAINER
    if spec.boolean("shareProcessNamespace", default=False):
        pid = cri.POD
    if spec.boolean("hostPID", default=False):
        if pid == cri.POD:
            raise spec.wrong("hostPID", "contradicts shareProcessNamespace")
        pid = cri.NODE
    return cri.NamespaceOption(
        network=cri.NODE if spec.boolean("hostNetwork", default=False) else cri.POD,
        pid=pid,
        ipc=cri.NODE if spec.boolean("hostIPC", default=False) else cri.POD,
    )
