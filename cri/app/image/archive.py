"""Documents of image archives: which blobs make up an image, and which names it has. Pure.

An archive is a tar with an OCI image layout (image-layout.md) in it, or what `docker save` wrote before it wrote
layouts: `manifest.json` with paths of a config and of layers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from api.containerd import Descriptor
from cri.errors import CriError, InvalidArgument
from cri.image import reference
from cri.image.manifest import Manifest, parse_document

LAYOUT: Final = "oci-layout"
INDEX: Final = "index.json"
DOCKER: Final = "manifest.json"
FULL_NAME: Final = "io.containerd.image.name"
REF_NAME: Final = "org.opencontainers.image.ref.name"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"


@dataclass(frozen=True, slots=True)
class Named:
    """A name and what it stands for."""

    name: str
    target: Descriptor


@dataclass(frozen=True, slots=True)
class DockerImage:
    """One entry of `manifest.json`: paths in the archive."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...] = field(default=())


def blob_path(digest: str) -> str:
    """Where a layout keeps a blob."""
    return f"blobs/{digest.replace(':', '/')}"


def names_of(index: bytes, base: str) -> list[Named]:
    """The images of an `index.json`. `base` is the repository for those of which only a tag is said.

    Raises InvalidArgument where a name is missing or wrong.
    """
    try:
        entries = json.loads(index)["manifests"]
        found = [
            Named(
                _name(entry.get("annotations") or {}, base),
                Descriptor(entry["mediaType"], entry["digest"], entry["size"]),
            )
            for entry in entries
        ]
    except CriError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidArgument(f"the archive's {INDEX} cannot be understood: {error!r}") from error
    return found


def _name(annotations: dict[str, str], base: str) -> str:
    full, short = annotations.get(FULL_NAME, ""), annotations.get(REF_NAME, "")
    if full or "/" in short:
        return str(reference.parse(full or short))
    if not base:
        raise InvalidArgument(f"the archive has no name for an image (tag {short!r}): give one with --name")
    return str(reference.parse(f"{base}:{short}" if short else base))


def docker_images(document: bytes) -> list[DockerImage]:
    """The entries of a `manifest.json`. Raises InvalidArgument."""
    try:
        return [
            DockerImage(entry["Config"], tuple(entry["Layers"]), tuple(entry.get("RepoTags") or ()))
            for entry in json.loads(document)
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidArgument(f"the archive's {DOCKER} cannot be understood: {error!r}") from error


def docker_manifest(config: Descriptor, layers: list[Descriptor]) -> bytes:
    """The manifest that `docker save` leaves out."""
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": _descriptor(config),
        "layers": [_descriptor(layer) for layer in layers],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def children_of(body: bytes, media_type: str, name: str) -> list[tuple[str, Descriptor]]:
    """What a manifest or index names, each with the end of its garbage collection label ("config", "l.0", "m.1")."""
    _, document = parse_document(body, media_type, name)
    if isinstance(document, Manifest):
        layers = [(f"l.{number}", layer.target) for number, layer in enumerate(document.layers)]
        return [("config", document.config.target), *layers]
    return [(f"m.{number}", entry.target) for number, entry in enumerate(document.manifests)]


def layout_index(named: list[Named]) -> bytes:
    """The `index.json` for these images."""
    manifests = []
    for each in named:
        parsed = reference.parse(each.name)
        annotations = {FULL_NAME: each.name, REF_NAME: parsed.tag or each.name}
        manifests.append({**_descriptor(each.target), "annotations": annotations})
    return json.dumps({"schemaVersion": 2, "manifests": manifests}, separators=(",", ":")).encode()


def _descriptor(target: Descriptor) -> dict[str, object]:
    return {"mediaType": target.media_type, "digest": target.digest, "size": target.size}
