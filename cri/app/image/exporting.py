"""`cri-shim image export`: images of containerd as one tar with an OCI image layout, which every tool reads.

Of an index those manifests are exported that containerd has all of.
"""

from __future__ import annotations

import tarfile
from typing import IO, TYPE_CHECKING

from api.containerd import Client, Descriptor
from api.containerd import errors as containerd
from cri.app.image import archive
from cri.errors import NotFound
from cri.image import reference
from cri.image.manifest import is_index

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST_DOCUMENT = 8 << 20


async def export_images(client: Client, names: Sequence[str], out: IO[bytes]) -> None:
    """Write the images called `names` to `out`. Raises NotFound, ContainerdError."""
    await _Export(client, out).run(names)


class _Export:
    def __init__(self, client: Client, out: IO[bytes]) -> None:
        self._client = client
        self._out = out
        self._written: set[str] = set()

    async def run(self, names: Sequence[str]) -> None:
        named = [await self._named(name) for name in names]
        self._file(archive.LAYOUT, b'{"imageLayoutVersion":"1.0.0"}')
        self._file(archive.INDEX, archive.layout_index(named))
        for each in named:
            if not await self._tree(each.target, each.name):
                raise NotFound(f"{each.name}: containerd does not have all of the image's content")
        self._out.write(bytes(2 * tarfile.BLOCKSIZE))

    async def _named(self, name: str) -> archive.Named:
        full = str(reference.parse(name))
        try:
            record = await self._client.images.get(full)
        except containerd.NotFound as error:
            raise NotFound(f"containerd has no image {full}") from error
        return archive.Named(full, record.target)

    async def _tree(self, target: Descriptor, name: str) -> bool:
        """Write a document and what it names; False, with nothing written, if a part is not there."""
        try:
            body = await self._client.content.read_all(target.digest, LARGEST_DOCUMENT)
        except containerd.NotFound:
            return False
        children = [child for _, child in archive.children_of(body, target.media_type, name)]
        if is_index(target.media_type):
            found = [await self._tree(child, name) for child in children]
            if not any(found):
                return False
        elif not await self._all_there(children):
            return False
        else:
            for child in children:
                await self._blob(child)
        if target.digest not in self._written:
            self._written.add(target.digest)
            self._file(archive.blob_path(target.digest), body)
        return True

    async def _all_there(self, blobs: Sequence[Descriptor]) -> bool:
        try:
            for blob in blobs:
                await self._client.content.info(blob.digest)
        except containerd.NotFound:
            return False
        return True

    async def _blob(self, blob: Descriptor) -> None:
        if blob.digest in self._written:
            return
        self._written.add(blob.digest)
        size = (await self._client.content.info(blob.digest)).size
        self._header(archive.blob_path(blob.digest), size)
        async for block in self._client.content.read(blob.digest):
            self._out.write(block)
        self._pad(size)

    def _file(self, path: str, content: bytes) -> None:
        self._header(path, len(content))
        self._out.write(content)
        self._pad(len(content))

    def _header(self, path: str, size: int) -> None:
        member = tarfile.TarInfo(path)
        member.size, member.mode = size, 0o644
        self._out.write(member.tobuf(tarfile.USTAR_FORMAT))

    def _pad(self, size: int) -> None:
        self._out.write(bytes(-size % tarfile.BLOCKSIZE))
