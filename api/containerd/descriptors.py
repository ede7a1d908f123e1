"""Descriptors: what names a blob of content (OCI image spec, "Content Descriptors")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.wire.containerd import types_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Kind, digest and size of a blob."""

    media_type: str
    digest: str
    """Algorithm and hex, "sha256:..."."""
    size: int
    """Bytes."""
    annotations: Mapping[str, str] = field(default_factory=dict)


def to_wire(descriptor: Descriptor) -> types_pb2.Descriptor:
    """For a request."""
    return types_pb2.Descriptor(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        annotations=descriptor.annotations,
    )


def from_wire(descriptor: types_pb2.Descriptor) -> Descriptor:
    """From a response."""
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, dict(descriptor.annotations))
