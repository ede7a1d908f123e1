"""Findings about kernel, control groups and the process itself. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.app.doctor.finding import Finding, broken, limited, note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cri.app.doctor.facts import CgroupFacts, Facts, KernelFacts, ProcessFacts

OLDEST_KERNEL = (4, 19)
NEEDED_NAMESPACES = frozenset({"mnt", "pid", "net", "ipc", "uts"})
NEEDED_CONTROLLERS = frozenset({"cpu", "memory", "pids"})
WANTED_CONTROLLERS = frozenset({"cpuset", "io", "blkio", "hugetlb"})
NEEDED_CAPABILITIES = (
    "CAP_SYS_ADMIN",
    "CAP_NET_ADMIN",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
    "CAP_MKNOD",
)
FEWEST_OPEN_FILES = 65536
FEWEST_INOTIFY_INSTANCES = 512
FEWEST_INOTIFY_WATCHES = 65536
FEWEST_PIDS = 65536


def judge_kernel(facts: Facts) -> Iterator[Finding]:
    """Everything about the machine below containerd."""
    yield from _kernel(facts.kernel)
    yield from _sysctls(facts.kernel)
    yield from _cgroups(facts.cgroups)
    yield from _process(facts.process)


def _kernel(kernel: KernelFacts) -> Iterator[Finding]:
    if kernel.version < OLDEST_KERNEL:
        yield broken(
            "kernel",
            f"Linux {kernel.release} is older than {_dotted(OLDEST_KERNEL)}",
            "Pods rely on features of later kernels, and this version gets no fixes.",
            "Install your distribution's current kernel and reboot.",
        )
    missing = sorted(NEEDED_NAMESPACES - kernel.namespaces)
    if missing:
        yield broken(
            "kernel",
            f"no {', '.join(missing)} namespaces",
            "A pod is made of namespaces.",
            "Use a kernel with CONFIG_NAMESPACES and all kinds below it.",
        )
    if not kernel.seccomp:
        yield limited(
            "kernel",
            "no seccomp",
            "Pods with a seccomp profile, RuntimeDefault for example, are refused.",
            "Use a kernel with CONFIG_SECCOMP_FILTER.",
        )
    if not kernel.user_namespaces:
        yield limited(
            "kernel",
            "no user namespace can be made",
            "Pods with hostUsers: false are refused.",
            "sysctl -w user.max_user_namespaces=65536 # and a file in /etc/sysctl.d",
        )


def _sysctls(kernel: KernelFacts) -> Iterator[Finding]:
    floors = (
        (
            "fs.inotify.max_user_instances",
            FEWEST_INOTIFY_INSTANCES,
            "Programs that watch files, in pods and here, fail with 'too many open files'.",
        ),
        (
            "fs.inotify.max_user_watches",
            FEWEST_INOTIFY_WATCHES,
            "Programs that watch files fail with 'no space left on device'.",
        ),
        (
            "kernel.pid_max",
            FEWEST_PIDS,
            "A full node runs out of process ids and no pod can start another process.",
        ),
    )
    for name, floor, why in floors:
        value = kernel.sysctls.get(name, "")
        if value.isdecimal() and int(value) < floor:
            yield limited(
                "kernel",
                f"{name} is {value}, below {floor}",
                why,
                f"sysctl -w {name}={floor} # and a file in /etc/sysctl.d",
            )


def _cgroups(cgroups: CgroupFacts) -> Iterator[Finding]:
    if not cgroups.writable:
        yield broken(
            "cgroups",
            "/sys/fs/cgroup cannot be written to",
            "Every container gets a control group of its own.",
            "Run the server on the host, or in a container with /sys/fs/cgroup mounted read-write.",
        )
    missing = sorted(NEEDED_CONTROLLERS - cgroups.controllers)
    if missing:
        yield broken(
            "cgroups",
            f"no controller {', '.join(missing)}",
            "The kubelet demands these; limits of pods would not be kept.",
            "Take cgroup_disable=... off the kernel's command line (memory: add cgroup_enable=memory) and reboot.",
        )
    if "hugetlb" not in cgroups.controllers:
        yield note(
            "cgroups",
            "no controller hugetlb",
            "Limits on huge pages are left out (tolerate_missing_hugetlb_controller, the default) or refused.",
            "Nothing, unless pods use huge pages.",
        )
    if cgroups.version == 1:
        yield limited(
            "cgroups",
            "control groups version 1",
            "Kubernetes keeps version 1 in maintenance only: memory QoS, swap and PSI need version 2.",
            "Boot with systemd.unified_cgroup_hierarchy=1 (the default of Debian 11 and later).",
        )
    if cgroups.systemd_handlers and not cgroups.systemd:
        yield broken(
            "cgroups",
            f"SystemdCgroup is set for {', '.join(cgroups.systemd_handlers)}, but systemd does not run this machine",
            "Control groups are asked for from systemd, which does not answer.",
            "Set SystemdCgroup = false in [containerd.runtimes.NAME.options]; the kubelet follows (RuntimeConfig).",
        )
    if cgroups.cgroupfs_handlers and cgroups.systemd and cgroups.version == 2:
        yield limited(
            "cgroups",
            f"SystemdCgroup is not set for {', '.join(cgroups.cgroupfs_handlers)}, but systemd owns the tree",
            "Two writers of one tree: systemd may take limits of pods away on a daemon-reload.",
            "Set SystemdCgroup = true in [containerd.runtimes.NAME.options]; the kubelet follows (RuntimeConfig).",
        )


def _process(process: ProcessFacts) -> Iterator[Finding]:
    if process.user != 0:
        yield broken(
            "process",
            f"runs as user {process.user}",
            "Namespaces, mounts and containerd's socket need root.",
            "Run it as root: sudo cri-shim doctor.",
        )
    needed = [name for name in NEEDED_CAPABILITIES if name in process.missing_capabilities]
    if needed:
        yield broken(
            "process",
            f"misses {', '.join(needed)}",
            "Pods cannot be made without.",
            "Take the names off CapabilityBoundingSet in the systemd unit, or run the container privileged.",
        )
    others = [name for name in process.missing_capabilities if name not in NEEDED_CAPABILITIES]
    if "CAP_SYS_RESOURCE" in others:
        yield limited(
            "process",
            "misses CAP_SYS_RESOURCE",
            "No container can have a lower oom_score_adj than this process, so the kernel may kill system pods first; "
            "StartContainer fails for them unless restrict_oom_score_adj is set.",
            "Give the capability, or set restrict_oom_score_adj = true.",
        )
    rest = [name for name in others if name != "CAP_SYS_RESOURCE"]
    if rest:
        yield limited(
            "process",
            f"misses {', '.join(rest)}",
            "Privileged pods get no capability that the server does not have itself.",
            "Take the names off CapabilityBoundingSet in the systemd unit.",
        )
    if process.in_user_namespace:
        yield limited(
            "process",
            "runs in a user namespace",
            "The kernel refuses much of what privileged pods ask for.",
            "Run it in the initial user namespace.",
        )
    if 0 <= process.open_files < FEWEST_OPEN_FILES:
        yield limited(
            "process",
            f"may open {process.open_files} files",
            "Every container's log takes two, every stream and watch one: a full node needs more.",
            "LimitNOFILE=1048576 in the systemd unit.",
        )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
