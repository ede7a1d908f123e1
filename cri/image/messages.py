"""CRI's views of an image and of the image file system. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from api.wire import criv1

if TYPE_CHECKING:
    from cri.image.filesystem import FilesystemUsage
    from cri.image.image import Image
    from cri.image.tally import PullReport


def image_message(image: Image) -> criv1.Image:
    """The image of ListImages and ImageStatus. Uid and username exclude each other; kubelet refuses a size of 0."""
    uid = image.config.uid
    return criv1.Image(
        id=image.id,
        repo_tags=image.repo_tags,
        repo_digests=image.repo_digests,
        size=max(image.size, 1),
        uid=None if uid is None else criv1.Int64Value(value=uid),
        username=image.config.username,
        pinned=image.pinned,
    )


def verbose_info(image: Image, report: PullReport | None = None) -> dict[str, str]:
    """One JSON document under the key "info", as crictl shows it; with the report of the last pull, if known."""
    config = image.config
    info: dict[str, object] = {
        "chainID": image.chain_id,
        "imageSpec": {
            "architecture": config.architecture,
            "os": config.os,
            "variant": config.variant,
            "config": {
                "User": config.user,
                "Env": list(config.env),
                "Entrypoint": list(config.entrypoint),
                "Cmd": list(config.cmd),
                "WorkingDir": config.working_dir,
                "Labels": dict(config.labels),
                "StopSignal": config.stop_signal,
            },
            "rootfs": {"type": "layers", "diff_ids": list(config.diff_ids)},
        },
    }
    if report is not None:
        info["pull"] = asdict(report)
    return {"info": json.dumps(info)}


def filesystem_message(usage: FilesystemUsage) -> criv1.FilesystemUsage:
    """One entry of ImageFsInfo."""
    return criv1.FilesystemUsage(
        timestamp=usage.timestamp,
        fs_id=criv1.FilesystemIdentifier(mountpoint=usage.mountpoint),
        used_bytes=criv1.UInt64Value(value=usage.used_bytes),
        inodes_used=criv1.UInt64Value(value=usage.inodes_used),
    )
