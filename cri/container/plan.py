"""What a container will be made of, before anything of it is made. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.oci.image_defaults import ImageDefaults

if TYPE_CHECKING:
    from cri.container.handlers import Handler
    from cri.image.image import Image
    from cri.state.records import ContainerRecord
    from cri.state.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """What a container will be made of."""

    record: ContainerRecord
    sandbox: Sandbox
    image: Image
    handler: Handler


def image_defaults(image: Image) -> ImageDefaults:
    """The image's part of the container's process."""
    config = image.config
    return ImageDefaults(
        user=config.user,
        env=config.env,
        entrypoint=config.entrypoint,
        cmd=config.cmd,
        working_dir=config.working_dir,
        volumes=config.volumes,
        stop_signal=config.stop_signal,
    )
