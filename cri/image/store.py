"""The image service as the rest of the server sees it. Wiring only; the work is in the modules beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.containerd import Client
    from api.wire.criv1.image_pb2 import AuthConfig
    from cri.concurrency.supervision import Supervisor
    from cri.image.filesystem import FilesystemUsage
    from cri.image.image import Image
    from cri.image.settings import ImageSettings, RegistrySettings


class ImageStore:
    """Finds, pulls, unpacks, removes and measures images."""

    def __init__(
        self, client: Client, settings: ImageSettings, registry: RegistrySettings, supervisor: Supervisor
    ) -> None:
        raise NotImplementedError

    async def load(self) -> None:
        """Fill the index from containerd; images that cannot be read are logged and left out."""
        raise NotImplementedError

    async def on_image_event(self, topic: str, name: str) -> None:
        """Follow one of containerd's `/images/*` events for the record `name`."""
        raise NotImplementedError

    async def pull(
        self, reference: str, auth: AuthConfig | None = None, *, snapshotter: str | None = None
    ) -> str:
        """Pull and unpack `reference`; returns the image id ("sha256:<config digest>").

        Raises InvalidArgument for a malformed reference, NotFound, Unauthenticated, PermissionDenied,
        Unavailable (message starts with `RegistryUnavailable` where the registry could not be reached) and
        DeadlineExceeded when nothing moved for `image_pull_progress_timeout`.
        """
        raise NotImplementedError

    async def ensure(self, reference: str) -> Image:
        """The image, unpacked: the local one if there is one, else pulled (for the sandbox image)."""
        raise NotImplementedError

    async def unpacked(self, image: Image, snapshotter: str) -> str:
        """The chain ID of the image's top layer in `snapshotter`, unpacking it first if nobody has."""
        raise NotImplementedError

    def find(self, reference: str) -> Image | None:
        """The image that an id, unique short id, tag, digest or name stands for, or None.

        Raises InvalidArgument for a short id that fits several images.
        """
        raise NotImplementedError

    def list(self) -> list[Image]:
        """All images, by id."""
        raise NotImplementedError

    async def remove(self, reference: str) -> None:
        """Remove all names of the image that `reference` stands for; no such image is a success."""
        raise NotImplementedError

    async def filesystem(self) -> list[FilesystemUsage]:
        """Usage of the image file system, at most `stats_collect_period` old."""
        raise NotImplementedError
