"""SELinux as the host has it: the policy's contexts for containers, and the labels of files."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Final

_CONFIGURATION: Final = Path("/etc/selinux/config")
_ATTRIBUTE: Final = "security.selinux"

NEVER_RELABELLED: Final = frozenset(
    (
        *("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc"),
        *("/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log"),
    )
)
"""Directories whose labels the host itself lives by: with containers' labels on them it would not even boot."""


def policy_contexts() -> str:
    """The contents of the policy's lxc_contexts file; "" where there is none. Blocking."""
    try:
        found = re.search(r"^SELINUXTYPE=(\S+)", _CONFIGURATION.read_text(), re.MULTILINE)
        kind = found[1] if found else "targeted"
        return (_CONFIGURATION.parent / kind / "contexts" / "lxc_contexts").read_text()
    except OSError:
        return ""


def relabel(path: Path, label: str) -> None:
    """Give `label` to a file, or to a directory with everything below it; links are labelled, not followed. Blocking.

    A file system without labels is left as it is. Raises PermissionError for a directory of the host's own, OSError.
    """
    real = os.path.realpath(path)
    if real in NEVER_RELABELLED:
        raise PermissionError(
            errno.EPERM, "the host's own directory cannot be relabelled for a container", real
        )
    try:
        _label(real, label)
        for directory, directories, files in os.walk(real):
            for name in (*directories, *files):
                _label(os.path.join(directory, name), label)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EROFS):
            raise


def _label(path: str, label: str) -> None:
    try:
        os.setxattr(path, _ATTRIBUTE, label.encode(), follow_symlinks=False)
    except FileNotFoundError:
        pass  # removed while we walked
