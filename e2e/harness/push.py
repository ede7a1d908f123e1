"""Pushing built images to a registry over HTTP (OCI distribution specification 1.1, section Push)."""

from __future__ import annotations

import io
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin

import aiohttp

from cri.app.built_image import Blob, Image, Index

if TYPE_CHECKING:
    from e2e.harness.registry import Registry


async def push(registry: Registry, repository: str, tag: str, image: Image | Index) -> str:
    """Push an image or an index with its images, and return the digest that the tag now stands for."""
    login = registry.login
    headers = {"Authorization": aiohttp.encode_basic_auth(login.user, login.password)} if login else None
    async with aiohttp.ClientSession(
        raise_for_status=True, connector=_connector(registry), headers=headers
    ) as session:
        base = f"{registry.url}/v2/{repository}"
        members = image.images if isinstance(image, Index) else (image,)
        for member in members:
            for blob in member.blobs:
                await _push_blob(session, base, blob)
            await _push_manifest(session, base, member.manifest.digest, member.manifest)
        top = image.blob if isinstance(image, Index) else image.manifest
        await _push_manifest(session, base, tag, top)
        return top.digest


def _connector(registry: Registry) -> aiohttp.TCPConnector:
    if registry.certificate is None:
        return aiohttp.TCPConnector()
    context = ssl.create_default_context(cafile=str(registry.certificate.certificate))
    return aiohttp.TCPConnector(ssl=context)


async def _push_blob(session: aiohttp.ClientSession, base: str, blob: Blob) -> None:
    async with session.get(f"{base}/blobs/{blob.digest}", raise_for_status=False) as known:
        if known.status == 200:
            return
    async with session.post(f"{base}/blobs/uploads/") as opened:
        place = urljoin(str(opened.url), opened.headers["Location"])
    separator = "&" if "?" in place else "?"
    target = f"{place}{separator}{urlencode({'digest': blob.digest})}"
    headers = {"Content-Type": "application/octet-stream"}
    async with session.put(target, data=io.BytesIO(blob.content), headers=headers):
        pass


async def _push_manifest(session: aiohttp.ClientSession, base: str, reference: str, blob: Blob) -> None:
    headers = {"Content-Type": blob.media_type}
    async with session.put(f"{base}/manifests/{reference}", data=io.BytesIO(blob.content), headers=headers):
        pass
