"""Times on the wire and in values: protobuf timestamps against Unix nanoseconds."""

from __future__ import annotations

from google.protobuf import timestamp_pb2

NANOS = 1_000_000_000


def from_wire(timestamp: timestamp_pb2.Timestamp) -> int:
    """Unix nanoseconds; 0 when unset, and for Go's zero time (year 1), which containerd sends for "never"."""
    return timestamp.seconds * NANOS + timestamp.nanos if timestamp.seconds > 0 else 0


def to_wire(nanoseconds: int) -> timestamp_pb2.Timestamp | None:
    """For a request's field; 0 leaves it unset."""
    if nanoseconds == 0:
        return None
    seconds, nanos = divmod(nanoseconds, NANOS)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos)
