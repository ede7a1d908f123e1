"""Capability sets of a process: the defaults or all, with the request's additions and removals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.oci.refusals import bad_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.wire import criv1
    from cri.oci.host import HostFacts
    from cri.oci.spec import Capabilities

ALL = "ALL"

#: Every capability by its number (linux/capability.h); a kernel may know fewer.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)

_FIELD = "config.linux.security_context.capabilities"


def container_capabilities(
    context: criv1.LinuxContainerSecurityContext, base: Capabilities, host: HostFacts
) -> Capabilities:
    """The sets of a container's process; `base` are those of its starting spec.

    A privileged container gets everything that this process can hand on, whatever else the request says.
    Otherwise ALL is taken first, additions second, removals last, so that "add ALL, drop X" and "drop ALL,
    add X" both mean what they say. Ambient ones go into every set, as the kernel demands. Raises
    InvalidArgument for a name that no kernel has, and for an addition that this kernel does not have.
    """
    if context.privileged:
        return _sets(host.effective_capabilities, (), ())
    request = context.capabilities
    add = _names("add_capabilities", request.add_capabilities, host)
    drop = _names("drop_capabilities", request.drop_capabilities, None)
    ambient = _names("add_ambient_capabilities", request.add_ambient_capabilities, host)

    kept: Iterable[str] = base.get("bounding", ())
    if ALL in add or ALL in ambient:
        kept = host.effective_capabilities
    if ALL in drop:
        kept = ()
    if ALL in ambient:
        ambient = [*host.effective_capabilities]
    chosen = dict.fromkeys([*kept, *add, *ambient])
    for name in (ALL, *drop):
        chosen.pop(name, None)
    return _sets(
        chosen,
        [name for name in base.get("inheritable", ()) if name in chosen],
        [name for name in dict.fromkeys(ambient) if name in chosen],
    )


def _sets(chosen: Iterable[str], inheritable: Iterable[str], ambient: Iterable[str]) -> Capabilities:
    sets: Capabilities = {"bounding": [*chosen], "effective": [*chosen], "permitted": [*chosen]}
    if carried := [*dict.fromkeys([*inheritable, *ambient])]:
        sets["inheritable"] = carried
    if handed_on := [*ambient]:
        sets["ambient"] = handed_on
    return sets


def _names(field: str, requested: Iterable[str], host: HostFacts | None) -> list[str]:
    """Full names, in upper case. With `host`, names that its kernel does not know are refused."""
    full = []
    for given in requested:
        name = given.upper()
        if name not in (ALL, "CAP_ALL"):
            name = name if name.startswith("CAP_") else f"CAP_{name}"
            known = name in NAMES or (host is not None and name in host.capabilities)
            if not known:
                raise bad_value(f"{_FIELD}.{field}", given, "ALL or a capability, such as NET_ADMIN")
            if host is not None and name not in host.capabilities:
                raise bad_value(f"{_FIELD}.{field}", given, "a capability that the running kernel has")
            full.append(name)
        else:
            full.append(ALL)
    return full
