"""`cri-shim image import`: an archive's blobs into containerd's content store, and records for its names.

The server sees the records by itself and unpacks on first use. All blobs are held by a lease until a record names
them.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from typing import IO, TYPE_CHECKING

from api.containerd import Client, ContentExists, Descriptor
from cri.app.image import archive
from cri.errors import InvalidArgument
from cri.image import records
from cri.image.stored import put

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cri.app.image.archive import Named

BLOCK_BYTES = 1 << 20
LARGEST_DOCUMENT = 8 << 20


async def import_archive(client: Client, source: IO[bytes], base: str) -> list[str]:
    """Import all images of a seekable tar and return their names; `base` names those of which only a tag is said.

    Raises InvalidArgument for an archive that cannot be understood or lacks a blob, ContainerdError.
    """
    try:
        with tarfile.open(fileobj=source) as tar:
            async with client.leases.hold() as leased:
                return await _Import(leased, tar).run(base)
    except tarfile.TarError as error:
        raise InvalidArgument(f"this is not a tar archive: {error}") from error


class _Import:
    def __init__(self, client: Client, tar: tarfile.TarFile) -> None:
        self._client = client
        self._tar = tar
        self._members = {member.name.removeprefix("./"): member for member in tar if member.isfile()}

    async def run(self, base: str) -> list[str]:
        if archive.INDEX in self._members:
            named = archive.names_of(self._document(archive.INDEX), base)
            for each in named:
                await self._store(each.target, each.name)
        elif archive.DOCKER in self._members:
            named = await self._docker()
        else:
            raise InvalidArgument(f"the archive has neither {archive.INDEX} nor {archive.DOCKER}")
        for each in named:
            await records.write(self._client, each.name, each.target, {})
        return [each.name for each in named]

    async def _store(self, target: Descriptor, name: str) -> None:
        """A manifest or index and what it names. Of an index's manifests at least one must be there."""
        body = self._document(archive.blob_path(target.digest))
        labels = {}
        for label, child in archive.children_of(body, target.media_type, name):
            if archive.blob_path(child.digest) not in self._members:
                if label.startswith("m."):
                    continue
                raise InvalidArgument(f"{name}: the archive lacks blob {child.digest}")
            labels[f"containerd.io/gc.ref.content.{label}"] = child.digest
            if label.startswith("m."):
                await self._store(child, name)
            else:
                await self._blob(archive.blob_path(child.digest), child)
        if not labels:
            raise InvalidArgument(f"{name}: the archive has none of the index's manifests")
        await put(self._client, f"import-{target.digest}", target.digest, body, labels)

    async def _docker(self) -> list[Named]:
        named = []
        for image in archive.docker_images(self._document(archive.DOCKER)):
            config = await self._undescribed(image.config, archive.DOCKER_CONFIG)
            layers = [await self._undescribed(path, archive.DOCKER_LAYER) for path in image.layers]
            body = archive.docker_manifest(config, layers)
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            target = Descriptor(archive.DOCKER_MANIFEST, digest, len(body))
            children = archive.children_of(body, archive.DOCKER_MANIFEST, image.config)
            labels = {f"containerd.io/gc.ref.content.{label}": child.digest for label, child in children}
            await put(self._client, f"import-{digest}", digest, body, labels)
            entry = {"mediaType": target.media_type, "digest": digest, "size": target.size}
            for tag in image.tags:
                index = {"manifests": [{**entry, "annotations": {archive.FULL_NAME: tag}}]}
                named.extend(archive.names_of(json.dumps(index).encode(), ""))
        if not named:
            raise InvalidArgument("the archive has no name for its images")
        return named

    async def _undescribed(self, path: str, media_type: str) -> Descriptor:
        """Store a file of which only the path is known."""
        size, digest = 0, hashlib.sha256()
        for block in self._blocks(path):
            size += len(block)
            digest.update(block)
        target = Descriptor(media_type, f"sha256:{digest.hexdigest()}", size)
        await self._blob(path, target)
        return target

    async def _blob(self, path: str, target: Descriptor) -> None:
        try:
            async with self._client.content.writer(
                f"import-{target.digest}", total=target.size, expected=target.digest
            ) as writer:
                if writer.offset:
                    await writer.truncate()
                for block in self._blocks(path):
                    await writer.write(block)
                await writer.commit(size=target.size, expected=target.digest)
        except ContentExists:
            return

    def _document(self, path: str) -> bytes:
        member = self._member(path)
        if member.size > LARGEST_DOCUMENT:
            raise InvalidArgument(f"{path} in the archive is larger than any document")
        return b"".join(self._blocks(path))

    def _blocks(self, path: str) -> Iterable[bytes]:
        file = self._tar.extractfile(self._member(path))
        while file is not None and (block := file.read(BLOCK_BYTES)):
            yield block

    def _member(self, path: str) -> tarfile.TarInfo:
        member = self._members.get(path)
        if member is None:
            raise InvalidArgument(f"the archive lacks {path}")
        return member
