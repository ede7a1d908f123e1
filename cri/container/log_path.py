"""Where a container's log goes: the request's relative path below its sandbox's log directory."""

from __future__ import annotations

import posixpath

from cri.errors import InvalidArgument


def absolute_log_path(log_directory: str, log_path: str) -> str:
    """Join the two (CRI: either one empty means that nothing is logged, and the answer is "").

    Raises InvalidArgument for a path that would leave the directory, or holds a NUL byte.
    """
    if not log_directory or not log_path:
        return ""
    if not log_directory.startswith("/"):
        raise InvalidArgument(f"log_directory {log_directory!r} must be an absolute path")
    joined = posixpath.normpath(posixpath.join(log_directory, log_path))
    inside = posixpath.normpath(log_directory).rstrip("/") + "/"
    if "\0" in joined or not joined.startswith(inside):
        raise InvalidArgument(
            f"log_path {log_path!r} must be a path inside of the log_directory {log_directory!r}"
        )
    return joined
