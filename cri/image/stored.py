"""Documents in containerd's content store: read them, put them there with the labels that they need."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from api.containerd import ContentExists, ContentInfo, Descriptor
from api.containerd import errors as containerd
from cri.concurrency.supervision import shielded
from cri.errors import FailedPrecondition
from cri.image.manifest import LARGEST_DOCUMENT, parse_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.containerd import Client
    from cri.image.image import ImageConfig
    from cri.image.manifest import BlobDescriptor

SOURCE_LABEL: Final = "containerd.io/distribution.source."
"""Followed by a registry's domain; the value names repositories that have the blob, for pushes by other clients."""
PUT_SECONDS: Final = 60.0
LOCKED_ATTEMPTS: Final = 50
LOCKED_PAUSE_SECONDS: Final = 0.1


class StoredDocuments:
    """A DocumentSource that reads what is there."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def document(self, descriptor: Descriptor) -> bytes:
        """Raises NotFound of api.containerd; FailedPrecondition if it is too large to be one."""
        return await read(self._client, descriptor)

    async def config(self, descriptor: BlobDescriptor, name: str) -> ImageConfig:
        """The decoded config."""
        return parse_config(await read(self._client, descriptor.target), name)


async def read(client: Client, descriptor: Descriptor) -> bytes:
    """A whole small blob. Raises NotFound of api.containerd, FailedPrecondition."""
    try:
        return await client.content.read_all(descriptor.digest, LARGEST_DOCUMENT)
    except containerd.ResourceExhausted as error:
        raise FailedPrecondition(
            f"{descriptor.digest} is larger than any manifest or config ({LARGEST_DOCUMENT >> 20} MiB)"
        ) from error


async def put(client: Client, ref: str, digest: str, body: bytes, labels: Mapping[str, str]) -> None:
    """Have a document in the store, in the lease of `client`, with at least these labels.

    Patient, because another pull, of ours or of another client, may be storing the same document. Raises
    FailedPrecondition of api.containerd if `body` has another digest, Locked if that takes too long.
    """
    for left in reversed(range(LOCKED_ATTEMPTS)):
        try:
            # Too short to be worth breaking off, which would leave an ingest behind.
            await shielded(_put(client, ref, digest, body, labels), f"store {digest}", PUT_SECONDS)
        except containerd.Locked:
            if not left:
                raise
            await asyncio.sleep(LOCKED_PAUSE_SECONDS)
        else:
            return


async def _put(client: Client, ref: str, digest: str, body: bytes, labels: Mapping[str, str]) -> None:
    try:
        async with client.content.writer(ref, total=len(body), expected=digest) as writer:
            if writer.offset:
                await writer.truncate()
            await writer.commit(size=len(body), expected=digest, labels=labels, data=body)
    except ContentExists:
        # It is in the lease now, but whoever wrote it may have had other labels in mind.
        info = await client.content.info(digest)
        wanted = {key: _with_earlier(key, value, info.labels.get(key, "")) for key, value in labels.items()}
        missing = {key: value for key, value in wanted.items() if info.labels.get(key) != value}
        if missing:
            await client.content.update(
                ContentInfo(digest, labels=missing), *(f"labels.{key}" for key in missing)
            )


def _with_earlier(key: str, value: str, earlier: str) -> str:
    """The new value of a label; where a blob came from is a list that grows."""
    if not key.startswith(SOURCE_LABEL) or not earlier:
        return value
    return ",".join(sorted({*earlier.split(","), value}))
