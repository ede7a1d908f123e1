"""Images made on the spot for tests: layers, configs, manifests and indexes as bytes with their digests."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@dataclass
class Blob:
    media_type: str
    data: bytes
    extra: dict[str, object] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    @property
    def descriptor(self) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data), **self.extra}


@dataclass
class TestImage:
    """One image for one platform; `blobs` are its config and layers."""

    __test__ = False

    manifest: Blob
    config: Blob
    layers: list[Blob]
    diff_ids: list[str]

    @property
    def blobs(self) -> dict[str, bytes]:
        return {blob.digest: blob.data for blob in (self.config, *self.layers)}


def layer_of(content: bytes, name: str = "file", level: int = 1) -> tuple[Blob, str]:
    tar = tar_of({name: content})
    return Blob(OCI_LAYER, gzip.compress(tar, level, mtime=0)), digest_of(tar)


def image_of(
    *contents: bytes,
    architecture: str = "amd64",
    execution: dict[str, object] | None = None,
    level: int = 1,
) -> TestImage:
    """An image with one layer per content."""
    made = [layer_of(content, f"file{number}", level) for number, content in enumerate(contents)]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": execution or {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]},
    }
    config_blob = Blob(OCI_CONFIG, json.dumps(config).encode())
    layers = [layer for layer, _ in made]
    return TestImage(manifest_of(config_blob, layers), config_blob, layers, [diff_id for _, diff_id in made])


def manifest_of(config: Blob, layers: list[Blob]) -> Blob:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor,
        "layers": [layer.descriptor for layer in layers],
    }
    return Blob(OCI_MANIFEST, json.dumps(document).encode())


def index_of(*images: tuple[TestImage, dict[str, str]]) -> Blob:
    entries = [{**image.manifest.descriptor, "platform": platform} for image, platform in images]
    return Blob(
        OCI_INDEX, json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    )
