"""SELinux contexts of processes and mounts: composing, checking and inheriting labels.

A context is user:role:type:level. The level's categories (MCS) keep pods apart: each gets a pair of its own,
which the caller allocates and remembers. No state and no system call here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.errors import ResourceExhausted
from cri.oci.refusals import bad_value, check_text

if TYPE_CHECKING:
    from collections.abc import Collection

_FIELD = "config.linux.security_context.selinux_options"
_LEVEL = re.compile(r"s\d{1,2}(-s\d{1,2})?(:c\d{1,4}(\.c\d{1,4})?(,c\d{1,4}(\.c\d{1,4})?)*)?")
_PAIR = re.compile(r"s0:c(\d+),c(\d+)")


@dataclass(frozen=True, slots=True)
class SelinuxLabels:
    """The label of a container's process and of its files; both empty where SELinux is off."""

    process: str = ""
    mount: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """One SELinux context."""

    user: str
    role: str
    type: str
    level: str = ""

    @classmethod
    def parse(cls, label: str) -> Context:
        """The context that `label` spells; the level may itself have colons."""
        user, role, type_, level = [*label.split(":", 3), "", "", ""][:4]
        return cls(user, role, type_, level)

    def __str__(self) -> str:
        parts = (self.user, self.role, self.type, self.level)
        return ":".join(parts if self.level else parts[:3])


@dataclass(frozen=True, slots=True)
class PolicyContexts:
    """The policy's contexts for containers (its `lxc_contexts` file)."""

    process: Context = Context("system_u", "system_r", "container_t", "s0")
    file: Context = Context("system_u", "object_r", "container_file_t", "s0")
    #: Processes of runtimes that are virtual machines.
    vm_process: Context = Context("system_u", "system_r", "container_kvm_t", "s0")


def parse_policy_contexts(content: str) -> PolicyContexts:
    """The contexts in a policy's lxc_contexts file (lines `process = "…"`), defaults for those it lacks."""
    lines: list[tuple[str, str]] = re.findall(r'^\s*(\w+)\s*=\s*"([^"]+)"', content, re.MULTILINE)
    found = {name: Context.parse(label) for name, label in lines}
    defaults = PolicyContexts()
    return PolicyContexts(
        process=found.get("process", defaults.process),
        file=found.get("file", defaults.file),
        vm_process=found.get("kvm_process", defaults.vm_process),
    )


def compose(options: criv1.SELinuxOption | None, policy: PolicyContexts, level: str) -> SelinuxLabels:
    """Labels for the request's `options` on the policy's contexts; `level` is used when they have none.

    Files take user and level from the request, but keep their own role and type. Raises InvalidArgument for
    malformed options.
    """
    options = options or criv1.SELinuxOption()
    check_options(options)
    chosen_level = options.level or level
    process = replace(
        policy.process,
        user=options.user or policy.process.user,
        role=options.role or policy.process.role,
        type=options.type or policy.process.type,
        level=chosen_level,
    )
    file = replace(policy.file, user=options.user or policy.file.user, level=chosen_level)
    return SelinuxLabels(str(process), str(file))


def inherited(sandbox_process_label: str, policy: PolicyContexts) -> SelinuxLabels:
    """Labels for a container without options: those of its sandbox, so that the pod's files are shared."""
    process = Context.parse(sandbox_process_label)
    file = replace(policy.file, user=process.user, level=process.level)
    return SelinuxLabels(str(process), str(file))


def check_options(options: criv1.SELinuxOption) -> None:
    """Raise InvalidArgument for a level or a name that cannot be part of a context."""
    if options.level and not _LEVEL.fullmatch(options.level):
        raise bad_value(f"{_FIELD}.level", options.level, "a level such as s0:c123,c456")
    for name in ("user", "role", "type"):
        value: str = getattr(options, name)
        check_text(f"{_FIELD}.{name}", value)
        if ":" in value:
            raise bad_value(f"{_FIELD}.{name}", value, "without colons")


def free_level(start: int, in_use: Collection[str], category_range: int) -> str:
    """A level s0:cA,cB with A < B < `category_range` that is not `in_use`, looking from number `start` on.

    `start` is any number (a random one spreads pods over the range). Raises ResourceExhausted at the end.
    """
    total = category_range * (category_range - 1) // 2
    for offset in range(total):
        level = _pair((start + offset) % total)
        if level not in in_use:
            return level
    raise ResourceExhausted(
        f"all {total} SELinux category pairs are in use; remove pods or raise selinux_category_range"
    )


def reserved_level(process_label: str) -> str | None:
    """The category pair that a running container's label keeps from others, None when it has none."""
    level = Context.parse(process_label).level
    return level if _PAIR.fullmatch(level) else None


def for_vm(process_label: str, policy: PolicyContexts) -> str:
    """The label for a container that runs in a virtual machine: the same with the policy's type for those."""
    return str(replace(Context.parse(process_label), type=policy.vm_process.type)) if process_label else ""


def _pair(number: int) -> str:
    """The pair with this number: (0,1), (0,2), (1,2), (0,3), …"""
    high = int((1 + (1 + 8 * number) ** 0.5) / 2)
    low = number - high * (high - 1) // 2
    return f"s0:c{low},c{high}"
