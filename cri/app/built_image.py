"""OCI images built in memory from files: layers, configuration, manifest, index, and the archive of a layout.

For places where no registry is reachable (the demonstration) and for tests, which need images with known
content. Pure: bytes in, bytes out, the same bytes for the same input. Terms and media types are those of the
OCI image specification 1.1; the archive is its image layout as a tar, which `ctr images import` reads.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"

MACHINE_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le"}
"""Kernel machine names (uname -m) and what the image specification (Go's GOARCH) calls them."""

CREATED = "2024-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Blob:
    """Content with its descriptor's facts."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        """`sha256:` and the content's hash."""
        return "sha256:" + hashlib.sha256(self.content).hexdigest()

    def descriptor(self, **more: object) -> dict[str, object]:
        """The OCI descriptor, with further fields (platform, annotations) as given."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content), **more}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a layer: with content, a symlink, a hard link, or (none of them given) a directory."""

    path: str
    content: bytes | None = None
    symlink: str = ""
    hardlink: str = ""
    mode: int = 0o755
    user: int = 0
    group: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's blob and the digest of its uncompressed tar."""

    blob: Blob
    diff_id: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image for one platform: its manifest and everything that it refers to."""

    manifest: Blob
    config: Blob
    layers: tuple[Layer, ...]
    architecture: str

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """What the manifest refers to, in the order in which a registry wants it: before the manifest."""
        return (*(layer.blob for layer in self.layers), self.config)


@dataclass(frozen=True, slots=True)
class Index:
    """Several platforms' images under one digest."""

    blob: Blob
    images: tuple[Image, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """The `config` object of an image configuration, with the fields that CRI acts on."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    working_directory: str = ""
    user: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """The JSON object, without what is empty."""
        fields: dict[str, object] = {
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "Env": list(self.environment),
            "WorkingDir": self.working_directory,
            "User": self.user,
            "StopSignal": self.stop_signal,
            "Volumes": {path: {} for path in self.volumes},
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Labels": dict(self.labels),
        }
        return {name: value for name, value in fields.items() if value}


def layer_of(entries: Iterable[Entry], compression: int = 1) -> Layer:
    """A layer with these entries, parents first; `compression` is gzip's level, 0 gives a plain tar."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            header = tarfile.TarInfo(entry.path)
            header.mode, header.uid, header.gid = entry.mode, entry.user, entry.group
            if entry.content is not None:
                header.size = len(entry.content)
                archive.addfile(header, io.BytesIO(entry.content))
                continue
            header.linkname = entry.symlink or entry.hardlink
            header.type = (
                tarfile.SYMTYPE if entry.symlink else tarfile.LNKTYPE if entry.hardlink else tarfile.DIRTYPE
            )
            archive.addfile(header)
    return layer_from_tar(output.getvalue(), compression)


def layer_from_tar(tar: bytes, compression: int = 1) -> Layer:
    """A layer from a ready tar."""
    diff_id = "sha256:" + hashlib.sha256(tar).hexdigest()
    if compression == 0:
        return Layer(Blob(LAYER_TAR, tar), diff_id)
    return Layer(Blob(LAYER_GZIP, gzip.compress(tar, compression, mtime=0)), diff_id)


def image_of(layers: Iterable[Layer], settings: Settings, architecture: str = "amd64") -> Image:
    """An image with these layers, lowest first."""
    stack = tuple(layers)
    config = Blob(
        CONFIG,
        _json(
            {
                "created": CREATED,
                "architecture": architecture,
                "os": "linux",
                "config": settings.document(),
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in stack]},
            }
        ),
    )
    manifest = Blob(
        MANIFEST,
        _json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": config.descriptor(),
                "layers": [layer.blob.descriptor() for layer in stack],
            }
        ),
    )
    return Image(manifest, config, stack, architecture)


def index_of(images: Iterable[Image]) -> Index:
    """An index with one manifest per platform."""
    members = tuple(images)
    manifests = [
        image.manifest.descriptor(platform={"architecture": image.architecture, "os": "linux"})
        for image in members
    ]
    return Index(
        Blob(INDEX, _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})), members
    )


def layout_archive(images: Mapping[str, Image]) -> bytes:
    """The tar of an OCI image layout with these images under their full reference names."""
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            image.manifest.descriptor(
                annotations={"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
            )
            for name, image in images.items()
        ],
    }
    blobs = {
        blob.digest: blob.content for image in images.values() for blob in (*image.blobs, image.manifest)
    }
    entries = [
        Entry("oci-layout", _json({"imageLayoutVersion": "1.0.0"}), mode=0o644),
        Entry("index.json", _json(index), mode=0o644),
        *(
            Entry("blobs/" + digest.replace(":", "/"), content, mode=0o644)
            for digest, content in blobs.items()
        ),
    ]
    return layer_of(entries, compression=0).blob.content


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
