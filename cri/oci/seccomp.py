"""Seccomp filters: the default profile, profiles from the machine, and which of them a container gets.

Profiles are in the OCI form, or in the form of container tools, where rules apply by capability, architecture
and kernel (`includes`, `excludes`, `archMap`). `seccomp_default.json` is in the latter: it denies what is not
listed, so a new system call of a new kernel stays denied until somebody has looked at it.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci import security_profile
from cri.oci.refusals import bad_value
from cri.oci.security_profile import ProfileKind, ProfileRequest

if TYPE_CHECKING:
    from collections.abc import Collection

    from cri.oci.host import HostFacts
    from cri.oci.settings import OciSettings
    from cri.oci.spec import Seccomp, SeccompArg, Syscall

_FIELD = "config.linux.security_context.seccomp"

SecurityContext = criv1.LinuxContainerSecurityContext | criv1.LinuxSandboxSecurityContext

#: Machines as uname names them, by the architecture names that profiles use in includes and excludes.
_PROFILE_ARCHITECTURES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "i686": ("386", "SCMP_ARCH_X86"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "armv7l": ("arm", "SCMP_ARCH_ARM"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "loongarch64": ("loong64", "SCMP_ARCH_LOONGARCH64"),
    "mips64": ("mips64", "SCMP_ARCH_MIPS64"),
}

_Unsigned = Annotated[int, msgspec.Meta(ge=0)]
_Action = Literal[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
]
_Operator = Literal[
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
]


class _Condition(msgspec.Struct, frozen=True):
    """When a rule applies; everything that is given must hold (excludes: none of it may)."""

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    minKernel: str = ""  # noqa: N815


class _Argument(msgspec.Struct, frozen=True):
    index: _Unsigned
    value: _Unsigned
    op: _Operator
    valueTwo: _Unsigned = 0  # noqa: N815


class _Rule(msgspec.Struct, frozen=True):
    action: _Action
    names: tuple[str, ...] = ()
    name: str = ""
    errnoRet: _Unsigned | None = None  # noqa: N815
    args: tuple[_Argument, ...] | None = None
    includes: _Condition | None = None
    excludes: _Condition | None = None


class _ArchitectureGroup(msgspec.Struct, frozen=True):
    architecture: str
    subArchitectures: tuple[str, ...] | None = None  # noqa: N815


class _Profile(msgspec.Struct, frozen=True):
    defaultAction: _Action  # noqa: N815
    defaultErrnoRet: _Unsigned | None = None  # noqa: N815
    architectures: tuple[str, ...] | None = None
    archMap: tuple[_ArchitectureGroup, ...] | None = None  # noqa: N815
    flags: tuple[str, ...] | None = None
    listenerPath: str = ""  # noqa: N815
    listenerMetadata: str = ""  # noqa: N815
    syscalls: tuple[_Rule, ...] | None = None


def profile_path(context: SecurityContext, settings: OciSettings) -> str | None:
    """The file that the caller must read for this container's profile, None when none is needed."""
    request = requested(context, settings)
    return request.name if request.kind is ProfileKind.LOCALHOST and not context.privileged else None


def requested(context: SecurityContext, settings: OciSettings) -> ProfileRequest:
    """The profile that a security context asks for; nothing said means `unset_seccomp_profile`."""
    if context.HasField("seccomp"):
        return security_profile.from_message(_FIELD, context.seccomp)
    if context.seccomp_profile_path:
        return security_profile.from_text(f"{_FIELD}_profile_path", context.seccomp_profile_path)
    if settings.unset_seccomp_profile:
        return security_profile.from_text("unset_seccomp_profile", settings.unset_seccomp_profile)
    return security_profile.UNCONFINED


def seccomp_filter(
    context: SecurityContext,
    capabilities: Collection[str],
    host: HostFacts,
    settings: OciSettings,
    profile: bytes | None,
) -> Seccomp | None:
    """The filter of a process with these (bounding) capabilities, None for none.

    A privileged process has none. `profile` is the content of the file that `profile_path` names. Raises
    InvalidArgument when the kernel has no seccomp, or the profile is missing or malformed.
    """
    request = requested(context, settings)
    if context.privileged or request.kind is ProfileKind.UNCONFINED:
        return None
    if not host.seccomp:
        raise bad_value(_FIELD, request.kind.value, "Unconfined: seccomp is not supported by this kernel")
    if request.kind is ProfileKind.RUNTIME_DEFAULT:
        return default_profile(capabilities, host.architecture, host.kernel)
    if profile is None:
        raise bad_value(f"{_FIELD}.localhost_ref", request.name, "a readable profile on this machine")
    return local_profile(request.name, profile, capabilities, host)


def default_profile(capabilities: Collection[str], architecture: str, kernel: tuple[int, int]) -> Seccomp:
    """The RuntimeDefault filter for a process with these capabilities on this machine."""
    return _evaluate(_default(), capabilities, architecture, kernel)


def local_profile(name: str, content: bytes, capabilities: Collection[str], host: HostFacts) -> Seccomp:
    """The filter in `content`. Raises InvalidArgument, naming the file, when it is not a seccomp profile."""
    try:
        profile = msgspec.json.decode(content, type=_Profile)
    except msgspec.DecodeError as error:
        raise InvalidArgument(
            f"{_FIELD}.localhost_ref: {name} is not a seccomp profile in JSON: {error}"
        ) from error
    return _evaluate(profile, capabilities, host.architecture, host.kernel)


@functools.cache
def _default() -> _Profile:
    text = resources.files(__package__).joinpath("seccomp_default.json").read_bytes()
    return msgspec.json.decode(text, type=_Profile)


def _evaluate(
    profile: _Profile, capabilities: Collection[str], machine: str, kernel: tuple[int, int]
) -> Seccomp:
    """The rules of `profile` that apply here, in OCI form."""
    architecture, token = _PROFILE_ARCHITECTURES.get(machine, (machine, ""))
    result: Seccomp = {"defaultAction": profile.defaultAction}
    if profile.defaultErrnoRet is not None:
        result["defaultErrnoRet"] = profile.defaultErrnoRet
    if architectures := _architectures(profile, token):
        result["architectures"] = architectures
    if profile.flags:
        result["flags"] = list(profile.flags)
    if profile.listenerPath:
        result["listenerPath"] = profile.listenerPath
        result["listenerMetadata"] = profile.listenerMetadata
    result["syscalls"] = [
        _syscall(rule)
        for rule in profile.syscalls or ()
        if _included(rule.includes, capabilities, architecture, kernel)
        and not _excluded(rule.excludes, capabilities, architecture)
    ]
    return result


def _architectures(profile: _Profile, token: str) -> list[str]:
    """Architectures that the filter covers; none means the native one."""
    if profile.architectures:
        return list(profile.architectures)
    for group in profile.archMap or ():
        if group.architecture == token:
            return [token, *(group.subArchitectures or ())]
    return []


def _included(
    condition: _Condition | None, capabilities: Collection[str], architecture: str, kernel: tuple[int, int]
) -> bool:
    if condition is None:
        return True
    return (
        all(name in capabilities for name in condition.caps)
        and (not condition.arches or architecture in condition.arches)
        and (not condition.minKernel or kernel >= _version(condition.minKernel))
    )


def _excluded(condition: _Condition | None, capabilities: Collection[str], architecture: str) -> bool:
    if condition is None:
        return False
    return any(name in capabilities for name in condition.caps) or architecture in condition.arches


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise bad_value("minKernel of a seccomp profile", text, "a version such as 4.8")
    return int(major), int(minor)


def _syscall(rule: _Rule) -> Syscall:
    syscall: Syscall = {"names": list(rule.names) or [rule.name], "action": rule.action}
    if rule.errnoRet is not None:
        syscall["errnoRet"] = rule.errnoRet
    if rule.args:
        syscall["args"] = [_argument(argument) for argument in rule.args]
    return syscall


def _argument(argument: _Argument) -> SeccompArg:
    converted: SeccompArg = {"index": argument.index, "value": argument.value, "op": argument.op}
    if argument.valueTwo:
        converted["valueTwo"] = argument.valueTwo
    return converted
