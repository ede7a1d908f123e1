"""What a spec needs to know about kernel and process, as values. Reading them is the job of `cri.linux`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Facts about the machine that do not change while the server runs."""

    #: 1 or 2; a hybrid hierarchy counts as 1.
    cgroup_version: int
    #: Every capability that the running kernel knows, as CAP_….
    capabilities: tuple[str, ...]
    #: The capabilities that this process has, and so can hand on: what a privileged container gets.
    effective_capabilities: tuple[str, ...]
    #: As `uname -m` says it: x86_64, aarch64, riscv64, …
    architecture: str
    #: Major and minor version of the kernel.
    kernel: tuple[int, int]
    #: The host's name: HOSTNAME in containers of pods without a name of their own.
    hostname: str = ""
    #: Seccomp filters are available.
    seccomp: bool = True
    #: AppArmor is enabled in the kernel and its parser is installed.
    apparmor: bool = False
    #: SELinux is enabled in the kernel.
    selinux: bool = False
    #: The memory cgroup accounts swap.
    swap: bool = False
    #: The hugetlb cgroup controller is there.
    hugetlb: bool = False
    #: Huge page sizes in cgroup notation (`2MB`, `1GB`); empty when not known.
    hugepage_sizes: tuple[str, ...] = ()
    #: This process may lower oom_score_adj.
    has_cap_sys_resource: bool = True
    #: /proc/self/oom_score_adj.
    own_oom_score_adj: int = 0
    #: CPUs and memory nodes that a cpuset may name; empty when not known.
    cpus: frozenset[int] = frozenset()
    memory_nodes: frozenset[int] = frozenset()
    #: The kernel has user namespaces, and lets some be made.
    user_namespaces: bool = True
    #: This process runs in a user namespace that is not the initial one.
    in_user_namespace: bool = False
    #: Options of the host's /sys/fs/cgroup mount, which a cgroup2 mount of the same namespace must repeat.
    cgroup_mount_options: tuple[str, ...] = ()
