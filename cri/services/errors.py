"""Which gRPC code each error becomes: the only such table.

Kubelet treats NotFound as the end of an object nearly everywhere, Unimplemented as "fall back", DeadlineExceeded of
ExecSync as a probe timeout, and shows the message of anything else in the pod's events. Unknown is never sent on
purpose: an error that is not in the table is a fault of ours and becomes Internal, with the traceback in the log.
"""

from __future__ import annotations

import string
from urllib.parse import quote

import grpc

from api.containerd import errors as containerd
from cri import errors as cri

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


def status_of(error: Exception) -> tuple[Code, str]:
    """The code and message for a client."""
    for kind, code in CODES:
        if isinstance(error, kind):
            return code, _fitting(str(error) or type(error).__name__)
    return Code.INTERNAL, _fitting(f"{type(error).__name__}: {error}")


def _fitting(message: str) -> str:
    """The message, or as much of its beginning as a client takes."""
    begin = message[:MOST_MESSAGE_BYTES]
    while len(quote(begin, safe=_UNCHANGED)) > MOST_MESSAGE_BYTES:
        begin = begin[: len(begin) // 2]
    return message if len(begin) == len(message) else f"{begin}…"
