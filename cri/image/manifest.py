"""Manifests, indexes and configs: decoded, checked, limited in size. Pure.

OCI image-spec and Docker's image manifest version 2, schema 2 are one format with two sets of media types.
Schema 1 is refused: its layers have no trustworthy digests of their own, and builders left it in 2017. A
document that is both a manifest and an index is refused as well, because two clients could then understand
two different images under one digest.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from api.containerd import Descriptor
from cri.errors import FailedPrecondition, Unimplemented
from cri.image.image import ImageConfig
from cri.image.platform import Platform
from cri.image.reference import is_digest

T = TypeVar("T")

LARGEST_DOCUMENT: Final = 8 << 20
"""Bytes of a manifest, index or config that are read; registries accept 4 MiB (distribution-spec)."""
MOST_LAYERS: Final = 500
"""overlayfs and the mount options' page end far below; this only bounds our own work."""

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED: Final = f"{DOCKER_MANIFEST}, {DOCKER_INDEX}, {OCI_MANIFEST}, {OCI_INDEX}"
"""The Accept header of a manifest request."""

_SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_INDEXES = (OCI_INDEX, DOCKER_INDEX)
_MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_DOCKER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
_OCI_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
_LAYERS = frozenset(
    {
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        _DOCKER_ZSTD,
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        _OCI_ZSTD,
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    }
)


class DocumentPlatform(msgspec.Struct, frozen=True):
    """`platform` of an index entry."""

    os: str = ""
    architecture: str = ""
    variant: str = ""

    @property
    def value(self) -> Platform:
        """The three names as one value."""
        return Platform(self.os, self.architecture, self.variant)


class BlobDescriptor(msgspec.Struct, frozen=True, rename={"media_type": "mediaType"}):
    """A descriptor as documents carry it: containerd's, with URLs and platform."""

    media_type: str
    digest: str
    size: int
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    platform: DocumentPlatform | None = None

    @property
    def target(self) -> Descriptor:
        """The part that containerd is told. It knows zstd by OCI's name for it only, which means the same."""
        media_type = _OCI_ZSTD if self.media_type == _DOCKER_ZSTD else self.media_type
        return Descriptor(media_type, self.digest, self.size, self.annotations or {})


class Index(msgspec.Struct, frozen=True):
    """A list of manifests for several platforms."""

    manifests: list[BlobDescriptor]


class Manifest(msgspec.Struct, frozen=True):
    """One image for one platform."""

    config: BlobDescriptor
    layers: list[BlobDescriptor]

    @property
    def size(self) -> int:
        """Compressed bytes of config and layers."""
        return self.config.size + sum(layer.size for layer in self.layers)


class _Document(msgspec.Struct):
    schema_version: int = msgspec.field(name="schemaVersion", default=0)
    media_type: str = msgspec.field(name="mediaType", default="")
    config: BlobDescriptor | None = None
    layers: list[BlobDescriptor] | None = None
    manifests: list[BlobDescriptor] | None = None
    fs_layers: list[object] | None = msgspec.field(name="fsLayers", default=None)


class _Execution(msgspec.Struct):
    user: str | None = msgspec.field(name="User", default=None)
    env: list[str] | None = msgspec.field(name="Env", default=None)
    entrypoint: list[str] | None = msgspec.field(name="Entrypoint", default=None)
    cmd: list[str] | None = msgspec.field(name="Cmd", default=None)
    working_dir: str | None = msgspec.field(name="WorkingDir", default=None)
    volumes: dict[str, object] | None = msgspec.field(name="Volumes", default=None)
    stop_signal: str | None = msgspec.field(name="StopSignal", default=None)
    labels: dict[str, str] | None = msgspec.field(name="Labels", default=None)
    exposed_ports: dict[str, object] | None = msgspec.field(name="ExposedPorts", default=None)


class _RootFs(msgspec.Struct):
    diff_ids: list[str] | None = None


class _Config(msgspec.Struct):
    architecture: str = ""
    os: str = ""
    variant: str = ""
    created: str | None = None
    config: _Execution | None = None
    rootfs: _RootFs | None = None


def is_index(media_type: str) -> bool:
    """Whether a descriptor of this media type points at an index."""
    return media_type in _INDEXES


def parse_document(body: bytes, media_type: str, name: str) -> tuple[str, Manifest | Index]:
    """Decode a manifest or index fetched as `media_type`; returns its true media type with it.

    `name` is for messages. Raises Unimplemented for schema 1 and things that are not container images,
    FailedPrecondition for what is broken or ambiguous.
    """
    media_type = media_type.partition(";")[0].strip().lower()
    document = _decode(body, _Document, name)
    kind = document.media_type or media_type
    if kind in _SCHEMA_1 or document.schema_version == 1 or document.fs_layers is not None:
        raise Unimplemented(
            f"{name}: Docker image manifest schema 1 is not supported; build or push the image again "
            "with a current tool, which writes schema 2 or OCI"
        )
    if document.manifests is not None and (document.config is not None or document.layers is not None):
        raise FailedPrecondition(f"{name}: the manifest is also an index, which makes it ambiguous")
    if media_type in _INDEXES + _MANIFESTS and document.media_type not in ("", media_type):
        raise FailedPrecondition(f"{name}: sent as {media_type} but says that it is {document.media_type}")
    if document.manifests is not None:
        return (kind if kind in _INDEXES else OCI_INDEX), _checked_index(document.manifests, kind, name)
    return (kind if kind in _MANIFESTS else OCI_MANIFEST), _checked_manifest(document, kind, name)


def parse_config(body: bytes, name: str) -> ImageConfig:
    """Decode an image config. Raises FailedPrecondition if it is broken."""
    config = _decode(body, _Config, name)
    run = config.config or _Execution()
    diff_ids = tuple((config.rootfs.diff_ids if config.rootfs else None) or ())
    for diff_id in diff_ids:
        if not is_digest(diff_id):
            raise FailedPrecondition(f"{name}: the config's diff ID {diff_id[:100]!r} is not a digest")
    return ImageConfig(
        user=run.user or "",
        env=tuple(run.env or ()),
        entrypoint=tuple(run.entrypoint or ()),
        cmd=tuple(run.cmd or ()),
        working_dir=run.working_dir or "",
        volumes=tuple(sorted(run.volumes or ())),
        stop_signal=run.stop_signal or "",
        labels=run.labels or {},
        exposed_ports=tuple(sorted(run.exposed_ports or ())),
        architecture=config.architecture,
        os=config.os,
        variant=config.variant,
        created=config.created or "",
        diff_ids=diff_ids,
    )


def check_layers(manifest: Manifest, config: ImageConfig, name: str) -> None:
    """Raise FailedPrecondition unless config and manifest speak of the same number of layers."""
    if len(manifest.layers) != len(config.diff_ids):
        raise FailedPrecondition(
            f"{name}: the manifest has {len(manifest.layers)} layers, its config {len(config.diff_ids)} diff IDs"
        )


def _checked_index(manifests: list[BlobDescriptor], kind: str, name: str) -> Index:
    if kind in _MANIFESTS:
        raise FailedPrecondition(f"{name}: sent as {kind} but it is an index")
    for entry in manifests:
        _check_descriptor(entry, name)
    return Index(manifests)


def _checked_manifest(document: _Document, kind: str, name: str) -> Manifest:
    if document.config is None or kind in _INDEXES:
        raise FailedPrecondition(
            f"{name}: {kind or 'the document'} is neither a manifest with a config nor an index"
        )
    layers = document.layers or []
    if document.config.media_type not in _CONFIGS:
        raise Unimplemented(
            f"{name} is not a container image: its config is {document.config.media_type[:200]!r}"
        )
    if len(layers) > MOST_LAYERS:
        raise FailedPrecondition(f"{name}: {len(layers)} layers are more than {MOST_LAYERS}")
    for part in (document.config, *layers):
        _check_descriptor(part, name)
    for layer in layers:
        if layer.media_type.removesuffix("+encrypted") not in _LAYERS:
            raise Unimplemented(
                f"{name}: layer {layer.digest} has the unknown media type {layer.media_type[:200]!r}"
            )
    if document.config.size > LARGEST_DOCUMENT:
        raise FailedPrecondition(
            f"{name}: the config of {document.config.size} bytes is larger than {LARGEST_DOCUMENT}"
        )
    return Manifest(document.config, layers)


def _check_descriptor(descriptor: BlobDescriptor, name: str) -> None:
    if not is_digest(descriptor.digest):
        raise FailedPrecondition(f"{name}: {descriptor.digest[:100]!r} is not a digest")
    if descriptor.size < 0:
        raise FailedPrecondition(f"{name}: {descriptor.digest} has the negative size {descriptor.size}")


def _decode(body: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FailedPrecondition(f"{name}: not a valid image document: {error}") from None
