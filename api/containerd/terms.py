"""On what terms each call of containerd is made: how long it may take, and whether it may be cut off. One table.

A daemon that hangs must not hang its clients, so every call has a deadline. It stands well above the slowest
honest answer: what only reads or writes metadata waits for one disk, what goes to a shim waits for runc, what removes
a snapshot waits for a tree to be deleted. Calls whose length is the work's (unpacking a layer, waiting for an exit)
have none.

A cancelled call may still take effect in the daemon, after its caller has undone it: a record made by Create a moment
after Delete found none would stay for ever. So calls that make something are *finished*: a caller who is cancelled
waits for their end, which the deadline bounds, and knows then what there is to undo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

NO_DEADLINE = math.inf
"""As `timeout=`: the call may take for ever. (None means the table's.)"""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one method."""

    seconds: float
    """The deadline where the caller names none."""
    finished: bool = False
    """A caller who is cancelled meanwhile waits for the end."""


ANSWER = Terms(20.0)
"""The daemon answers out of its memory or database."""
LIST = Terms(60.0)
"""A long answer in pieces."""
CHANGE = Terms(30.0)
"""A transaction on its database, whose repetition does no harm."""
MAKE = Terms(30.0, finished=True)
"""A transaction that makes something which would have to be undone."""
SHIM = Terms(30.0)
"""The daemon asks shims, which answer out of their memory."""
RUNTIME = Terms(120.0, finished=True)
"""A shim is started or runs the OCI runtime."""
DISK = Terms(120.0)
"""Trees of files are walked or removed."""
WORK = Terms(NO_DEADLINE)
"""As long as the work takes."""

TERMS: dict[str, Terms] = {
    "Version.Version": Terms(10.0),
    "Events.Publish": Terms(10.0),
    "Events.Subscribe": WORK,
    "Introspection.Plugins": ANSWER,
    "Introspection.PluginInfo": SHIM,
    "Introspection.Server": ANSWER,
    "Namespaces.Get": ANSWER,
    "Namespaces.List": ANSWER,
    "Namespaces.Create": CHANGE,
    "Namespaces.Update": CHANGE,
    "Namespaces.Delete": CHANGE,
    "Containers.Get": ANSWER,
    "Containers.List": ANSWER,
    "Containers.ListStream": LIST,
    "Containers.Create": MAKE,
    "Containers.Update": MAKE,
    "Containers.Delete": MAKE,
    "Content.Info": ANSWER,
    "Content.List": LIST,
    "Content.Read": WORK,
    "Content.Update": CHANGE,
    "Content.Delete": CHANGE,
    "Content.Status": ANSWER,
    "Content.ListStatuses": ANSWER,
    "Content.Abort": CHANGE,
    "Diff.Apply": WORK,
    "Diff.Diff": WORK,
    "Images.Get": ANSWER,
    "Images.List": ANSWER,
    "Images.Create": MAKE,
    "Images.Update": MAKE,
    "Images.Delete": DISK,
    "Leases.Create": MAKE,
    "Leases.Delete": DISK,
    "Leases.List": ANSWER,
    "Leases.AddResource": CHANGE,
    "Leases.DeleteResource": CHANGE,
    "Leases.ListResources": ANSWER,
    "Snapshots.Prepare": MAKE,
    "Snapshots.View": MAKE,
    "Snapshots.Mounts": ANSWER,
    "Snapshots.Commit": DISK,
    "Snapshots.Remove": DISK,
    "Snapshots.Stat": ANSWER,
    "Snapshots.List": LIST,
    "Snapshots.Usage": DISK,
    "Snapshots.Update": CHANGE,
    "Snapshots.Cleanup": WORK,
    "Tasks.Create": RUNTIME,
    "Tasks.Start": RUNTIME,
    "Tasks.Get": SHIM,
    "Tasks.List": SHIM,
    "Tasks.Kill": SHIM,
    "Tasks.Delete": Terms(120.0),
    "Tasks.DeleteProcess": SHIM,
    "Tasks.Exec": Terms(30.0, finished=True),
    "Tasks.ResizePty": SHIM,
    "Tasks.CloseIO": SHIM,
    "Tasks.ListPids": SHIM,
    "Tasks.Pause": SHIM,
    "Tasks.Resume": SHIM,
    "Tasks.Checkpoint": WORK,
    "Tasks.Update": SHIM,
    "Tasks.Metrics": SHIM,
    "Tasks.Wait": WORK,
    "Transfer.Transfer": WORK,
}
"""By service and method, as in the protos."""


def terms_of(service: str, method: str, longest: float | None = None) -> Terms:
    """The terms of a method; `longest` (seconds) shortens deadlines above it, where there is one. KeyError."""
    terms = TERMS[f"{service}.{method}"]
    if longest is None or terms.seconds == NO_DEADLINE:
        return terms
    return Terms(min(longest, terms.seconds), terms.finished)
