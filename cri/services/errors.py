"""Which gRPC code each error becomes: the only such table.

Kubelet treats NotFound as the end of an object nearly everywhere, Unimplemented as "fall back", DeadlineExceeded of
ExecSync as a probe timeout, and shows the message of anything else in the pod's events. Unknown is never sent on
purpose: an error that is not in the table is a fault of ours and becomes Internal, with the traceback in the log.
"""

from __future__ import annotations

import errno
import os
import string
from typing import TYPE_CHECKING
from urllib.parse import quote

import grpc

from api.containerd import errors as containerd
from cri import errors as cri

if TYPE_CHECKING:
    from collections.abc import Mapping

Code = grpc.StatusCode

CODES: tuple[tuple[type[Exception], Code], ...] = (
    (cri.InvalidArgument, Code.INVALID_ARGUMENT),
    (cri.NotFound, Code.NOT_FOUND),
    (cri.AlreadyExists, Code.ALREADY_EXISTS),
    (cri.FailedPrecondition, Code.FAILED_PRECONDITION),
    (cri.PermissionDenied, Code.PERMISSION_DENIED),
    (cri.Unauthenticated, Code.UNAUTHENTICATED),
    (cri.ResourceExhausted, Code.RESOURCE_EXHAUSTED),
    (cri.Unavailable, Code.UNAVAILABLE),
    (cri.DeadlineExceeded, Code.DEADLINE_EXCEEDED),
    (cri.Aborted, Code.ABORTED),
    (cri.Unimplemented, Code.UNIMPLEMENTED),
    (cri.Internal, Code.INTERNAL),
    # containerd's errors that no operation has given a meaning of its own. Its NotFound must not reach kubelet as
    # such: what is missing there (a snapshot, a lease) is not the object that kubelet asked about.
    (containerd.Unavailable, Code.UNAVAILABLE),
    (containerd.DeadlineExceeded, Code.DEADLINE_EXCEEDED),
    (containerd.ResourceExhausted, Code.RESOURCE_EXHAUSTED),
    (containerd.InvalidArgument, Code.INVALID_ARGUMENT),
    (containerd.ContainerdError, Code.INTERNAL),
    (TimeoutError, Code.DEADLINE_EXCEEDED),
)


MOST_MESSAGE_BYTES = 6000
"""Of a message on the wire, percent-encoded (gRPC over HTTP/2, Status-Message). Clients take 8 KiB of metadata; with
more they lose the code, too."""


_UNCHANGED = " " + string.punctuation.replace("%", "")


EXHAUSTED: Mapping[int, str] = {
    errno.ENOSPC: "free space on the disk, or have the kubelet collect images",
    errno.EDQUOT: "raise the disk quota",
    errno.ENOMEM: "the node is out of memory",
    errno.ENFILE: "raise fs.file-max",
    errno.EMFILE: "raise the limit on open files (LimitNOFILE) of whoever says so",
    errno.EAGAIN: "no more processes or threads may be started: raise TasksMax, kernel.pid_max or kernel.threads-max",
}
"""What the kernel refuses when something has run out, and what helps. containerd and runc pass on its words, of
which the longer come first: "too many open files in system" begins as another does."""
_NO_THREAD = "can't start new thread"
"""CPython's words for pthread_create(3) failing, which it does with EAGAIN."""


def status_of(error: Exception) -> tuple[Code, str]:
    """The code and message for a client."""
    if (remedy := _remedy(error)) is not None:
        return Code.RESOURCE_EXHAUSTED, _fitting(f"{error}; {remedy}")
    for kind, code in CODES:
        if isinstance(error, kind):
            return code, _fitting(str(error) or type(error).__name__)
    return Code.INTERNAL, _fitting(f"{type(error).__name__}: {error}")


def _remedy(error: Exception) -> str | None:
    """What helps where something has run out; None for any other error."""
    if isinstance(error, OSError):
        return EXHAUSTED.get(error.errno or 0)
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return EXHAUSTED[errno.EAGAIN]
    if isinstance(error, containerd.Unknown):
        text = str(error).lower()
        return next(
            (help_ for number, help_ in EXHAUSTED.items() if os.strerror(number).lower() in text), None
        )
    return None


def _fitting(message: str) -> str:
    """The message, or as much of its beginning as a client takes."""
    begin = message[:MOST_MESSAGE_BYTES]
    while len(quote(begin, safe=_UNCHANGED)) > MOST_MESSAGE_BYTES:
        begin = begin[: len(begin) // 2]
    return message if len(begin) == len(message) else f"{begin}…"
