"""The OCI runtime specification (config.json) as types, and its wire form.

Only fields that this server writes or reads are typed; a base spec from a file may carry others, and they are
kept. Keys are those of the specification (opencontainers/runtime-spec, config.md and config-linux.md).
"""

from __future__ import annotations

from typing import TypedDict, cast

import msgspec

#: The spec version written; every runc since 1.1 and crun accept it.
OCI_VERSION = "1.1.0"


class User(TypedDict, total=False):
    """Identity of a process, as seen inside of the container's user namespace."""

    uid: int
    gid: int
    umask: int
    additionalGids: list[int]
    username: str


class Capabilities(TypedDict, total=False):
    """The five capability sets, names with CAP_ prefix."""

    bounding: list[str]
    effective: list[str]
    permitted: list[str]
    inheritable: list[str]
    ambient: list[str]


class Rlimit(TypedDict):
    """A POSIX resource limit (`type` is RLIMIT_…)."""

    type: str
    hard: int
    soft: int


class Box(TypedDict):
    """Size of a terminal in characters."""

    height: int
    width: int


class Process(TypedDict, total=False):
    """The container's process."""

    terminal: bool
    consoleSize: Box
    user: User
    args: list[str]
    env: list[str]
    cwd: str
    capabilities: Capabilities
    rlimits: list[Rlimit]
    noNewPrivileges: bool
    apparmorProfile: str
    oomScoreAdj: int
    selinuxLabel: str


class Root(TypedDict, total=False):
    """The root file system; `path` is relative to the bundle."""

    path: str
    readonly: bool


class IdMapping(TypedDict):
    """One line of a user namespace's uid_map or gid_map."""

    containerID: int
    hostID: int
    size: int


class Mount(TypedDict, total=False):
    """A mount in the container; order in the list is order of mounting."""

    destination: str
    type: str
    source: str
    options: list[str]
    uidMappings: list[IdMapping]
    gidMappings: list[IdMapping]


class Namespace(TypedDict, total=False):
    """A namespace to create, or to join when `path` is there; a type not listed is the runtime's own."""

    type: str
    path: str


class Device(TypedDict, total=False):
    """A device node to create in the container."""

    path: str
    type: str
    major: int
    minor: int
    fileMode: int
    uid: int
    gid: int


class DeviceCgroup(TypedDict, total=False):
    """A rule of the device cgroup; absent type, major and minor match all."""

    allow: bool
    type: str
    major: int
    minor: int
    access: str


class Memory(TypedDict, total=False):
    """Memory limits in bytes; `swap` is memory plus swap; -1 means unlimited."""

    limit: int
    reservation: int
    swap: int


class Cpu(TypedDict, total=False):
    """CPU limits: period and quota in microseconds, cpus and mems in kernel list format."""

    shares: int
    quota: int
    burst: int
    period: int
    cpus: str
    mems: str


class Pids(TypedDict):
    """Limit of processes in the cgroup."""

    limit: int


class HugepageLimit(TypedDict):
    """Limit in bytes for one page size (`2MB`, `1GB`)."""

    pageSize: str
    limit: int


class Resources(TypedDict, total=False):
    """Cgroup settings."""

    devices: list[DeviceCgroup]
    memory: Memory
    cpu: Cpu
    pids: Pids
    hugepageLimits: list[HugepageLimit]
    unified: dict[str, str]


class SeccompArg(TypedDict, total=False):
    """A condition on a system call's argument."""

    index: int
    value: int
    valueTwo: int
    op: str


class Syscall(TypedDict, total=False):
    """A rule of a seccomp filter."""

    names: list[str]
    action: str
    errnoRet: int
    args: list[SeccompArg]


class Seccomp(TypedDict, total=False):
    """A seccomp filter."""

    defaultAction: str
    defaultErrnoRet: int
    architectures: list[str]
    flags: list[str]
    listenerPath: str
    listenerMetadata: str
    syscalls: list[Syscall]


class IntelRdt(TypedDict, total=False):
    """Resource director class of the container."""

    closID: str
    l3CacheSchema: str
    memBwSchema: str
    schemata: list[str]
    enableMonitoring: bool
    enableCMT: bool
    enableMBM: bool


class NetDevice(TypedDict, total=False):
    """A host network interface moved into the container under `name`."""

    name: str


class Linux(TypedDict, total=False):
    """The Linux part of the spec."""

    uidMappings: list[IdMapping]
    gidMappings: list[IdMapping]
    sysctl: dict[str, str]
    resources: Resources
    cgroupsPath: str
    namespaces: list[Namespace]
    devices: list[Device]
    netDevices: dict[str, NetDevice]
    seccomp: Seccomp
    rootfsPropagation: str
    maskedPaths: list[str]
    readonlyPaths: list[str]
    mountLabel: str
    intelRdt: IntelRdt


class Hook(TypedDict, total=False):
    """A program run at a point of the container's life; `timeout` in seconds."""

    path: str
    args: list[str]
    env: list[str]
    timeout: int


class Hooks(TypedDict, total=False):
    """Programs by the point of life at which the runtime runs them."""

    prestart: list[Hook]
    createRuntime: list[Hook]
    createContainer: list[Hook]
    startContainer: list[Hook]
    poststart: list[Hook]
    poststop: list[Hook]


class Spec(TypedDict, total=False):
    """A whole config.json."""

    ociVersion: str
    process: Process
    root: Root
    hostname: str
    domainname: str
    mounts: list[Mount]
    hooks: Hooks
    annotations: dict[str, str]
    linux: Linux


def to_json(spec: Spec | Process | Resources) -> bytes:
    """The compact JSON of a spec, or of a part that containerd takes alone (exec process, task update)."""
    return msgspec.json.encode(spec)


def from_json(data: bytes) -> Spec:
    """The spec in `data` as containerd stores it. Raises `msgspec.DecodeError` when it is not JSON."""
    return cast("Spec", msgspec.json.decode(data, type=dict))
