"""Core dumps, which this process must not have: its memory holds registries' credentials and what passes in streams."""

from __future__ import annotations

import resource

from cri.linux import syscalls as sys


def forbid_core_dumps() -> None:
    """Let the kernel write no core of this process (core(5)), and of its children only if they ask for it.

    Not dumpable (PR_SET_DUMPABLE(2const)) is what counts where cores are piped to a program, which the limit does not
    stop. A debugger with CAP_SYS_PTRACE can still attach.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    sys.set_dumpable(0)
