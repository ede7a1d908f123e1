"""Linux capabilities: their names, what this process has, what this kernel knows (capabilities(7))."""

from __future__ import annotations

from typing import Final

# In the order of their numbers (uapi/linux/capability.h); the numbers never change.
_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
    SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
    AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
    PERFMON BPF CHECKPOINT_RESTORE
"""
NAMES: Final = tuple(f"CAP_{name}" for name in _NAMES.split())


def effective() -> frozenset[str]:
    """The effective capabilities of this process: more cannot be handed to a container."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("CapEff:"):
                mask = int(line.split()[1], 16)
                return frozenset(name for number, name in enumerate(NAMES) if mask >> number & 1)
    return frozenset()


def kernel_capabilities() -> frozenset[str]:
    """The capabilities that this kernel knows; runc refuses a name beyond them."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return frozenset(NAMES[: int(file.read()) + 1])
