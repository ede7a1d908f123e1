"""The body of a blob on its way from a host: in large blocks, never more or fewer bytes than promised."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final, Self

import aiohttp

from cri.image.errors import Corrupt, HostError, Interrupted
from cri.image.transport import describe

if TYPE_CHECKING:
    from types import TracebackType

    from cri.image.manifest import BlobDescriptor

BLOCK_BYTES: Final = 4 << 20
"""containerd takes large messages at less cost (by a fifth from 1 to 4 MiB); three downloads hold three or four."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-")


class BlobStream:
    """An async iterator of blocks; a context manager that lets the connection go.

    A block is a list of the parts in which it arrived, which nobody has to copy just to have them in one piece.
    `start` is the offset of the first byte: where it was asked to begin, or 0 from a host without ranges.
    Iterating raises Interrupted when the connection ends before the blob does, Corrupt when the blob goes on.
    """

    def __init__(
        self, host: str, answer: aiohttp.ClientResponse, descriptor: BlobDescriptor, offset: int
    ) -> None:
        """Raises HostError if the answer's headers already tell that it is not what was asked for."""
        self.host = host
        self.start = offset if answer.status == 206 else 0
        self._answer = answer
        self._digest = descriptor.digest
        self._size = descriptor.size
        self._remaining = descriptor.size - self.start
        self._broken: Interrupted | None = None
        try:
            self._check_headers()
        except HostError:
            answer.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A body not read to its end closes the connection; one that was gives it back for the next request.
        self._answer.release()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[bytes]:
        if self._broken is not None:
            raise self._broken
        parts: list[bytes] = []
        gathered = 0
        while gathered < BLOCK_BYTES and (part := await self._read()):
            parts.append(part)
            gathered += len(part)
        self._remaining -= gathered
        if self._remaining < 0:
            raise Corrupt(self.host, f"it sends more than the {self._size} bytes of {self._digest}")
        if parts:
            return parts
        if self._remaining:
            raise self._broken or Interrupted(self.host, "the connection was closed early")
        raise StopAsyncIteration

    async def _read(self) -> bytes:
        """What has arrived; b"" at the end and after a break, so that what came before it is not lost."""
        try:
            if self._broken is None:
                part, _ = await self._answer.content.readchunk()
                return part
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._broken = Interrupted(self.host, describe(error))
        return b""

    def _check_headers(self) -> None:
        if self._answer.status == 206:
            found = _CONTENT_RANGE.match(self._answer.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != self.start:
                raise HostError(self.host, f"it answers with another range of {self._digest} than asked for")
        length = self._answer.content_length
        if length is not None and length != self._remaining:
            raise Corrupt(
                self.host, f"it has {self.start + length} bytes of {self._digest}, not {self._size}"
            )


def check_digest_of(body: bytes, digest: str, host: str) -> None:
    """Raise Corrupt unless `body`, which came from `host`, has this digest."""
    algorithm, _, expected = digest.partition(":")
    actual = hashlib.new(algorithm, body).hexdigest()
    if actual != expected:
        raise Corrupt(host, f"it sends content of digest {algorithm}:{actual} as {digest}")
