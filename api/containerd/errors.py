"""What containerd's refusals are called here: one class for each gRPC code, and the one table between them.

    ContainerdError
    ├── NotFound            no such object (also: signal to a process that has ended)
    ├── AlreadyExists       the key, name or digest is taken
    ├── FailedPrecondition  wrong state, conflict, or a digest or size that does not match
    ├── InvalidArgument     the request is malformed; repeating it cannot help
    ├── OutOfRange          an offset that the blob or the ingest does not have
    ├── Unavailable         the daemon is away, or its transport broke
    │   └── Locked          the daemon is well, but another writer has the ingest; try again a little later
    ├── DeadlineExceeded    the call's own deadline passed; what it did in the daemon is unknown
    ├── Aborted             given up by the daemon (its side cancelled the call)
    ├── PermissionDenied, Unauthenticated, ResourceExhausted, DataLoss, Unimplemented, Internal
    └── Unknown             untyped errors, common in containerd: everything that a shim or runc says

Local faults of a caller (wrong types, a closed client) are not among them, save that a call on a closed
client is Unavailable, because that is what its callers have to cope with anyway.
"""

from __future__ import annotations

import grpc


class ContainerdError(Exception):
    """A call of containerd failed.

    `str()` of it is a whole sentence for people: service, method, the daemon's text. `details` is the
    daemon's text alone; `service` and `method` are short names such as "Tasks" and "Start".
    """

    def __init__(self, message: str, *, service: str = "", method: str = "", details: str = "") -> None:
        super().__init__(message)
        self.service = service
        self.method = method
        self.details = details or message


class NotFound(ContainerdError):
    """No such object in this namespace."""


class AlreadyExists(ContainerdError):
    """The key, name or digest is taken."""


class FailedPrecondition(ContainerdError):
    """The object's state forbids this, or content does not have the expected digest or size."""


class InvalidArgument(ContainerdError):
    """The request is malformed."""


class OutOfRange(ContainerdError):
    """An offset lies outside of what is there."""


class Unavailable(ContainerdError):
    """The daemon does not answer; the message names its socket."""


class Locked(Unavailable):
    """Another writer holds the ingest; the daemon itself is well. Try again after a pause."""


class DeadlineExceeded(ContainerdError):
    """The deadline of the call passed."""


class Aborted(ContainerdError):
    """The daemon gave the call up."""


class PermissionDenied(ContainerdError):
    """The daemon refuses this to anyone."""


class Unauthenticated(ContainerdError):
    """The daemon (or a registry behind it) wants credentials."""


class ResourceExhausted(ContainerdError):
    """A limit is reached; mostly an answer above the message size."""


class DataLoss(ContainerdError):
    """Stored data is damaged."""


class Unimplemented(ContainerdError):
    """This daemon does not have the service or method."""


class Internal(ContainerdError):
    """The daemon reports a fault of its own."""


class Unknown(ContainerdError):
    """The daemon gave no type of error; only the text says more."""


BY_CODE: dict[grpc.StatusCode, type[ContainerdError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.ABORTED: Aborted,
    # Our own cancellations never come here: they are asyncio.CancelledError.
    grpc.StatusCode.CANCELLED: Aborted,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.DATA_LOSS: DataLoss,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.INTERNAL: Internal,
    grpc.StatusCode.UNKNOWN: Unknown,
}


def from_status(
    code: grpc.StatusCode, details: str, *, service: str, method: str, address: str
) -> ContainerdError:
    """Build the error for a finished call's status; `address` is named when the daemon seems to be away."""
    kind = BY_CODE.get(code, Unknown)
    where = f"containerd {service}.{method}"
    if kind is Unavailable and service == "Content" and "locked" in details:
        kind = Locked
    elif kind is Unavailable:
        where = f"containerd at {address} does not answer {service}.{method}"
    elif kind is DeadlineExceeded:
        where = f"containerd at {address} took too long for {service}.{method}"
    return kind(f"{where}: {details}", service=service, method=method, details=details)
