"""Who a process will be: names in the request or the image turned into ids by the image's own account files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cri.container.accounts import AccountFiles
from cri.container.unpacked import with_unpacked
from cri.oci.user import ResolvedUser, UserRequest, resolve

if TYPE_CHECKING:
    from cri.container.engine import Engine
    from cri.image.image import Image


async def resolved_user(engine: Engine, image: Image, snapshotter: str, request: UserRequest) -> ResolvedUser:
    """The ids; the image's files are read only if they matter. Raises InvalidArgument for an unknown name."""
    files = AccountFiles()
    if request.needs_image_files:
        files = await with_unpacked(engine, image, snapshotter, partial(engine.accounts.read, snapshotter))
    return resolve(request, files.passwd, files.group)
