"""Diff: layers applied to mounts, and mounts compared into layers, both done by the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.containerd import descriptors, mounts
from api.containerd.calls import Link, Unary
from api.wire.containerd import diff_pb2, diff_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from api.containerd.descriptors import Descriptor
    from api.containerd.mounts import Mount
    from api.containerd.typed_value import TypedValue


class Diff:
    """The diff service. Its calls take as long as the layer needs, so they have no deadline by default."""

    def __init__(self, link: Link) -> None:
        stub = link.stub(diff_pb2_grpc.DiffStub)
        self._apply = Unary(link, stub.Apply, "Diff", "Apply")
        self._compare = Unary(link, stub.Diff, "Diff", "Diff")

    async def apply(
        self,
        descriptor: Descriptor,
        mounts: Sequence[Mount],
        *,
        payloads: Mapping[str, TypedValue] | None = None,
        sync_fs: bool = False,
        timeout: float | None = None,
    ) -> Descriptor:
        """Unpack a layer blob onto mounts; the answer describes the uncompressed tar, its digest the diff ID.

        `payloads` go to stream processors of the daemon's configuration, by their ID. Raises NotFound (blob),
        Unimplemented (media type), Unknown (a broken stream, a full disk).
        """
        request = diff_pb2.ApplyRequest(
            diff=descriptors.to_wire(descriptor), mounts=_mounts_to_wire(mounts), sync_fs=sync_fs
        )
        for processor, payload in (payloads or {}).items():
            message = request.payloads[processor]
            message.type_url, message.value = payload.type_url, payload.value
        return descriptors.from_wire((await self._apply(request, timeout)).applied)

    async def compare(
        self,
        left: Sequence[Mount],
        right: Sequence[Mount],
        *,
        media_type: str = "application/vnd.oci.image.layer.v1.tar+gzip",
        ref: str = "",
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Descriptor:
        """Write what `right` has over `left` into the content store as a layer. Hold a lease over it."""
        request = diff_pb2.DiffRequest(
            left=_mounts_to_wire(left),
            right=_mounts_to_wire(right),
            media_type=media_type,
            ref=ref,
            labels=labels or {},
        )
        return descriptors.from_wire((await self._compare(request, timeout)).diff)


_mounts_to_wire = mounts.to_wire
