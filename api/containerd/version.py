"""Version: which containerd this is."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf import empty_pb2

from api.containerd.calls import Link, Unary
from api.wire.containerd import version_pb2_grpc


class Release(NamedTuple):
    """What the daemon was built from."""

    version: str
    """Such as "1.6.20~ds1" or "v2.1.4", as the builder wrote it."""
    revision: str
    """Source revision; may be empty."""


class Version:
    """The version service; also the cheapest call to see whether the daemon answers."""

    def __init__(self, link: Link) -> None:
        self._version = Unary(link, link.stub(version_pb2_grpc.VersionStub).Version, "Version", "Version")

    async def get(self, *, timeout: float | None = None) -> Release:
        """The daemon's version and revision."""
        answer = await self._version(empty_pb2.Empty(), timeout)
        return Release(answer.version, answer.revision)
