"""What the doctor has observed, as values. None and empty mean: not there, or not to be found out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.containerd.introspection import Plugin  # noqa: TC001 - a fact

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """The running kernel."""

    release: str
    version: tuple[int, int]
    filesystems: frozenset[str]
    namespaces: frozenset[str]
    """Kinds of namespaces, as /proc/self/ns names them."""
    seccomp: bool
    user_namespaces: int
    """/proc/sys/user/max_user_namespaces."""
    sysctls: Mapping[str, str]
    """Settings by their dotted names; those that the kernel does not have are missing."""


@dataclass(frozen=True, slots=True)
class CgroupFacts:
    """The control group tree."""

    version: int
    controllers: frozenset[str]
    writable: bool
    systemd: bool
    """systemd runs this machine, and so owns the tree."""
    systemd_handlers: tuple[str, ...]
    """Runtime handlers that have SystemdCgroup set."""
    cgroupfs_handlers: tuple[str, ...]
    """The other handlers of runc."""


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """This process, which stands for the server."""

    user: int
    missing_capabilities: tuple[str, ...]
    """Those that the kernel knows and this process does not have."""
    oom_score_adj: int
    open_files: int
    """RLIMIT_NOFILE, the hard limit; -1 is unlimited."""
    in_user_namespace: bool


@dataclass(frozen=True, slots=True)
class ContainerdFacts:
    """The containerd that is configured."""

    address: str
    problem: str
    """Why it could not be asked; empty when it answered, and the rest is known."""
    version: str = ""
    plugins: tuple[Plugin, ...] = ()
    deprecations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HandlerFacts:
    """A runtime handler and the programs behind it."""

    name: str
    runtime_type: str
    snapshotter: str
    shim: str
    """Name of the shim's program."""
    shim_path: str | None
    binary: str | None
    """The OCI runtime that the shim starts; None where that is the shim's own affair."""
    binary_path: str | None
    version: str
    """First line of `binary --version`."""
    recursive_read_only: bool
    user_namespaces: bool


@dataclass(frozen=True, slots=True)
class CniFacts:
    """One directory of CNI configurations, judged file by file."""

    conf_dir: str
    bin_dirs: tuple[str, ...]
    networks: Mapping[str, tuple[str, ...]]
    """Usable files, the one in use first, with the types of their plugins."""
    problems: tuple[str, ...]
    obstacle: str


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What pod networks need."""

    cni: tuple[CniFacts, ...]
    iptables: str | None
    """What `iptables --version` says; None if there is none."""
    nft: str | None


@dataclass(frozen=True, slots=True)
class FilesystemFacts:
    """The filesystem of one directory that the node writes to."""

    purpose: str
    path: str
    capacity_bytes: int
    available_bytes: int
    inodes: int
    inodes_free: int
    read_only: bool


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """The wall clock."""

    now: float
    """Unix seconds."""
    synchronized: bool | None
    """What the kernel was told by whoever keeps the time (adjtimex(2)); None if it cannot be asked."""
    built: float
    """Unix seconds at which this program was installed: it is later than that."""


@dataclass(frozen=True, slots=True)
class DnsFacts:
    """The host's resolver configuration."""

    file: str
    nameservers: tuple[str, ...]
    searches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SecurityFacts:
    """Mandatory access control, as the kernel has it and as the configuration wants it."""

    selinux: bool
    enable_selinux: bool
    apparmor: bool
    apparmor_parser: bool
    disable_apparmor: bool
    policy_files: bool
    """container-selinux, or another policy with contexts for containers, is installed."""


@dataclass(frozen=True, slots=True)
class PortFacts:
    """An address that the server will listen on."""

    purpose: str
    address: str
    problem: str
    """Why it cannot be bound; empty if it can."""
    remedy: str


@dataclass(frozen=True, slots=True)
class RegistryFacts:
    """A registry that was asked on request."""

    host: str
    problem: str
    """Empty if it answered as a registry."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The whole node."""

    kernel: KernelFacts
    cgroups: CgroupFacts
    process: ProcessFacts
    containerd: ContainerdFacts
    snapshotter: str
    allow_builtin_cri: bool
    handlers: tuple[HandlerFacts, ...]
    network: NetworkFacts
    filesystems: tuple[FilesystemFacts, ...]
    clock: ClockFacts
    dns: DnsFacts
    security: SecurityFacts
    ports: tuple[PortFacts, ...] = ()
    registries: tuple[RegistryFacts, ...] = field(default=())
