"""CRI's views of a container: the list item, the status, the verbose information. Pure: from the index only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.container.signals import cri_signal
from cri.state.container_status import CRI_STATES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cri.image.image import Image
    from cri.state.container import Container


def list_item(container: Container) -> criv1.Container:
    """The item of ListContainers."""
    config = container.config
    return criv1.Container(
        id=container.id,
        pod_sandbox_id=container.record.sandbox_id,
        metadata=config.metadata,
        image=config.image,
        image_ref=container.record.image_id,
        image_id=container.record.image_id,
        state=CRI_STATES[container.status.phase],
        created_at=container.status.created_at,
        labels=config.labels,
        annotations=config.annotations,
    )


def status_message(container: Container, image: Image | None) -> criv1.ContainerStatus:
    """The status of ContainerStatus. `image` is None when the image has been removed meanwhile."""
    config, status = container.config, container.status
    return criv1.ContainerStatus(
        id=container.id,
        metadata=config.metadata,
        state=CRI_STATES[status.phase],
        created_at=status.created_at,
        started_at=status.started_at,
        finished_at=status.finished_at,
        exit_code=status.exit_code,
        image=criv1.ImageSpec(image=_display_name(container, image), annotations=config.image.annotations),
        image_ref=_image_ref(container, image),
        image_id=container.record.image_id,
        reason=status.reason,
        message=status.message,
        labels=config.labels,
        annotations=config.annotations,
        mounts=config.mounts,
        log_path=container.record.log_path,
        resources=container.resources,
        user=container.user,
        stop_signal=cri_signal(container.record.stop_signal),
    )


def verbose_info(container: Container, runtime_spec: Mapping[str, object]) -> dict[str, str]:
    """The verbose information, one JSON document under the key "info" as crictl's templates read it."""
    info = {
        "sandboxID": container.record.sandbox_id,
        "pid": container.status.pid,
        "removing": container.removing,
        "snapshotKey": container.id,
        "snapshotter": container.snapshotter,
        "runtimeSpec": runtime_spec,
    }
    return {"info": json.dumps(info)}


def _display_name(container: Container, image: Image | None) -> str:
    """The name that people know the image by: what the pod asked for, else a tag."""
    asked = container.config.image.user_specified_image
    if asked:
        return asked
    if image is not None and image.repo_tags:
        return image.repo_tags[0]
    return container.config.image.image


def _image_ref(container: Container, image: Image | None) -> str:
    """A repository digest where there is one (older readers expect it), else the image id."""
    if image is not None and image.repo_digests:
        return image.repo_digests[0]
    return container.record.image_id
