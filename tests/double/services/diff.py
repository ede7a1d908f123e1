"""Diff: layers are really decompressed, hashed and unpacked into the snapshot's directory."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterable

import grpc

from api.wire.containerd import diff_pb2, diff_pb2_grpc, types_pb2
from tests.double.calls import Context, caller
from tests.double.refusals import Refusal, found, unknown
from tests.double.state import State

LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_PREFIXES = (LAYER, "application/vnd.docker.image.rootfs.")
GZIP_MAGIC = b"\x1f\x8b"


class DiffService(diff_pb2_grpc.DiffServicer):
    """containerd.services.diff.v1.Diff"""

    def __init__(self, state: State) -> None:
        self._state = state

    async def Apply(self, request: diff_pb2.ApplyRequest, context: Context) -> diff_pb2.ApplyResponse:
        digest = request.diff.digest
        blob = found(
            self._state.namespace(caller().namespace).blobs.get(digest),
            f"failed to get reader from content store: content digest {digest}",
        )
        if not request.diff.media_type.startswith(LAYER_PREFIXES):
            raise unknown(
                f"failed to get stream processor for {request.diff.media_type}: no processor for media-type"
            )
        try:
            tar = await asyncio.to_thread(_unpack, blob.data, _writable_directory(request.mounts))
        except (EOFError, OSError, zlib.error, tarfile.TarError) as error:
            raise unknown(f"failed to extract layer {digest}: {error}") from None
        diff_id = f"sha256:{hashlib.sha256(tar).hexdigest()}"
        return diff_pb2.ApplyResponse(
            applied=types_pb2.Descriptor(media_type=LAYER, digest=diff_id, size=len(tar))
        )

    async def Diff(self, request: diff_pb2.DiffRequest, context: Context) -> diff_pb2.DiffResponse:
        raise Refusal(grpc.StatusCode.UNIMPLEMENTED, "the double compares no snapshots")


def _writable_directory(mounts: Iterable[types_pb2.Mount]) -> str:
    """Where writing to the mounted tree would end up."""
    for mount in mounts:
        if mount.type == "bind":
            return mount.source
        for option in mount.options:
            if option.startswith("upperdir="):
                return option.removeprefix("upperdir=")
    raise unknown("failed to mount: no such file or directory")


def _unpack(data: bytes, directory: str) -> bytes:
    tar = gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
    with tarfile.open(fileobj=io.BytesIO(tar)) as layer:
        # Ownership, devices and whiteouts are the real snapshotter's business.
        layer.extractall(directory, filter="data")
    return tar
