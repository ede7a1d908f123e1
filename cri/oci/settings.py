"""The configuration keys that shape specs, named as in containerd's CRI plugin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OciSettings:
    """Node-wide choices; the defaults are those of containerd's CRI plugin."""

    #: Label processes and mounts with SELinux contexts.
    enable_selinux: bool = False
    #: Upper bound, exclusive, of the categories handed out to pods.
    selinux_category_range: int = 1024
    #: Never set an AppArmor profile, whatever the kernel has.
    disable_apparmor: bool = False
    #: Raise an oom_score_adj below this process's own to that value.
    restrict_oom_score_adj: bool = False
    #: For containers that ask for no profile: "" or "unconfined", "runtime/default", "localhost/<path>".
    unset_seccomp_profile: str = ""
    #: Drop hugepage limits silently where the controller is missing; otherwise such a request is refused.
    tolerate_missing_hugetlb_controller: bool = True
    #: Never set hugepage limits.
    disable_hugetlb_controller: bool = True
    #: Let every process of a pod with its own network bind ports below 1024.
    enable_unprivileged_ports: bool = True
    #: Let every process of a pod with its own network send ICMP echo.
    enable_unprivileged_icmp: bool = True
    #: Give device nodes to the security context's user and group.
    device_ownership_from_security_context: bool = False
    #: Do not make anonymous volumes for the image's VOLUMEs.
    ignore_image_defined_volumes: bool = False
    #: Keep the default masked and read-only paths whatever the request says.
    disable_proc_mount: bool = False
    #: Resolve CDI device names.
    enable_cdi: bool = True
    #: Directories with CDI specifications, the later ones override the earlier ones.
    cdi_spec_dirs: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")
    #: Cgroup for pods whose request names no parent.
    default_cgroup_parent: str = "/k8s.io"
