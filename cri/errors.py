"""Every error that a CRI caller can be told about, by what the caller should do about it.

    CriError
    ├── InvalidArgument      the request is wrong; repeating it cannot help
    ├── NotFound             no such object; kubelet acts on this one almost everywhere
    ├── AlreadyExists        the name is taken by an object that its creator has received
    ├── FailedPrecondition   the object is not in a state that allows this (and says which it is in)
    ├── PermissionDenied     a registry or the kernel refused
    ├── Unauthenticated      a registry wants (other) credentials
    ├── ResourceExhausted    a configured limit or the machine's is reached
    ├── Unavailable          containerd, a registry or a plugin is away; the same call may work later
    ├── DeadlineExceeded     time ran out; what was begun has been undone or goes on for the retry
    ├── Aborted              overtaken by another operation on the same object
    ├── Unimplemented        this RPC or feature is not there; kubelet falls back
    └── Internal             our own fault or a broken invariant

The gRPC codes for these are in `cri.services.errors`, the only such table. A package adds a subclass in
its own `errors` module only where somebody catches it. The message is shown to users in pod events: it names
the object, the stage and the remedy. Credentials never enter one.
"""

from __future__ import annotations


class CriError(Exception):
    """Base of all errors meant for a CRI client; `str()` of it is the message sent."""

    @property
    def message(self) -> str:
        """The text for the client."""
        return str(self.args[0]) if self.args else type(self).__name__


class InvalidArgument(CriError):
    """A field of the request is missing, malformed or contradicts another; the message names it."""


class NotFound(CriError):
    """The named sandbox, container or image does not exist."""


class AlreadyExists(CriError):
    """The name belongs to another object; the message names the holder."""


class FailedPrecondition(CriError):
    """The object exists but is not in a state for this operation."""


class PermissionDenied(CriError):
    """Refused by a registry, a verifier or the kernel."""


class Unauthenticated(CriError):
    """A registry asked for credentials that were not given or not accepted."""


class ResourceExhausted(CriError):
    """A limit was reached: messages, streams, disk, processes."""


class Unavailable(CriError):
    """Something that this call depends on is away; the message says what and where."""


class DeadlineExceeded(CriError):
    """Time ran out; for ExecSync this is what kubelet maps to a probe timeout."""


class Aborted(CriError):
    """Another operation on the same object came first."""


class Unimplemented(CriError):
    """Not offered here; the message names the RPC or the field."""


class Internal(CriError):
    """A fault of ours; the message names the operation, the log has the traceback."""
