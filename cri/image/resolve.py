"""What a reference stands for: its documents, from the content store where it has them, else from the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.containerd import Descriptor
from api.containerd import errors as containerd
from cri.image import stored
from cri.image.documents import Walk, walk
from cri.image.manifest import parse_document

if TYPE_CHECKING:
    from api.containerd import Client
    from cri.image.platform import Platform
    from cri.image.reference import Reference
    from cri.image.registry import Repository


@dataclass(frozen=True, slots=True)
class Resolved:
    """The documents of an image, and the host that said what the reference stands for."""

    walk: Walk
    host: str


class _Documents:
    """A DocumentSource for a pull: stored ones first."""

    def __init__(self, client: Client, repository: Repository, top: bytes) -> None:
        self._client = client
        self._repository = repository
        self._top = top

    async def document(self, descriptor: Descriptor) -> bytes:
        if self._top:
            body, self._top = self._top, b""
            return body
        try:
            return await stored.read(self._client, descriptor)
        except containerd.NotFound:
            return (await self._repository.manifest(descriptor.digest, descriptor.size)).body


async def resolve(
    client: Client, repository: Repository, reference: Reference, platform: Platform, *, probable: bool
) -> Resolved:
    """Ask the registry what `reference` stands for and follow it to the manifest for `platform`.

    Where the image is `probable`-ly here already, only the digest is asked for first. The registry is always
    asked, for a digest too: it is for it to say whether these credentials may have the image.
    """
    if probable:
        pointer = await repository.head()
        if (
            pointer is not None
            and (top := await _stored_top(client, pointer.digest, str(reference))) is not None
        ):
            body, target = top
            documents = _Documents(client, repository, body)
            return Resolved(await walk(documents, target, platform, str(reference)), pointer.host)
    document = await repository.manifest(reference.selector)
    media_type, _ = parse_document(document.body, document.media_type, str(reference))
    target = Descriptor(media_type, document.digest, len(document.body))
    documents = _Documents(client, repository, document.body)
    return Resolved(await walk(documents, target, platform, str(reference)), document.host)


async def _stored_top(client: Client, digest: str, name: str) -> tuple[bytes, Descriptor] | None:
    try:
        body = await stored.read(client, Descriptor("", digest, 0))
    except containerd.NotFound:
        return None
    media_type, _ = parse_document(body, "", name)
    return body, Descriptor(media_type, digest, len(body))
