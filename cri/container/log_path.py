"""Where a container's log goes: the request's relative path below its sandbox's log directory."""

from __future__ import annotations

import os
import posixpath
from typing import Final

from cri.errors import InvalidArgument
from cri.oci.refusals import bad_value, check_plain

LONGEST_NAME: Final = 255
"""Bytes of a name in a directory (NAME_MAX)."""


def absolute_log_path(log_directory: str, log_path: str) -> str:
    """Join the two (CRI: either one empty means that nothing is logged, and the answer is "").

    Raises InvalidArgument for a path that would leave the directory, cannot be made, or holds control characters.
    """
    if not log_directory or not log_path:
        return ""
    check_plain("config.log_path", log_path)
    if not log_directory.startswith("/"):
        raise InvalidArgument(f"log_directory {log_directory!r} must be an absolute path")
    joined = posixpath.normpath(posixpath.join(log_directory, log_path))
    inside = posixpath.normpath(log_directory).rstrip("/") + "/"
    if not joined.startswith(inside):
        raise bad_value("config.log_path", log_path, f"a path inside of the log_directory {log_directory!r}")
    if max(map(len, os.fsencode(joined).split(b"/"))) > LONGEST_NAME:
        raise bad_value("config.log_path", log_path, f"a path of names of at most {LONGEST_NAME} bytes")
    return joined
