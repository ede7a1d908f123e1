"""What an image is to the rest of the server: a frozen value, as the index hands it out. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.containerd import Descriptor


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The image's own wishes for its containers (OCI image-spec, config.md), with absent lists as empty."""

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    architecture: str = ""
    os: str = ""
    variant: str = ""
    created: str = ""
    diff_ids: tuple[str, ...] = ()

    @property
    def uid(self) -> int | None:
        """The numeric user, or None where the image names one or says nothing (CRI `Image.uid`)."""
        name = self.user.partition(":")[0]
        return int(name) if name.isascii() and name.isdigit() else None

    @property
    def username(self) -> str:
        """The user's name where it is not numeric (CRI `Image.username`; never set together with uid)."""
        return "" if self.uid is not None else self.user.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Image:
    """One image: everything that shares a config digest, whatever names it goes by.

    `id` is the digest of the config blob, which CRI calls image id and image_ref. `names` are all of its
    containerd records, the id among them. `size` is the compressed size in bytes, manifest and config
    included. `chain_id` names the snapshot of the top layer ("" for an image without layers). `target` is
    what the records point at: a manifest, or an index of which `manifest_digest` was chosen.
    """

    id: str
    names: tuple[str, ...]
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    size: int
    chain_id: str
    config: ImageConfig
    pinned: bool
    target: Descriptor
    manifest_digest: str = ""
