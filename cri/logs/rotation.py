"""Setting aside a log that has grown too large before the kubelet looks at it again.

The kubelet looks every ten seconds, in which a container can write gigabytes. A log that is set aside gets the name
that the kubelet would give it, the path with the time behind, so that the kubelet compresses and removes it with its
own. As it does so only when it rotates too, no more than `MOST_ASIDE` are left here.
"""

from __future__ import annotations

import os
import time

MOST_ASIDE = 4
"""With the one in use as many as the kubelet keeps by default (containerLogMaxFiles)."""


def set_aside(path: str, descriptor: int) -> None:
    """Rename the log at `path` if it still is the file behind `descriptor`, and remove the oldest. Raises OSError.

    Whatever else is at `path`, or nothing, has been put there by somebody who rotates at this moment.
    """
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return
    ours = os.fstat(descriptor)
    if (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino):
        return
    second, fraction = divmod(time.time_ns(), 1_000_000_000)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(second))
    os.rename(path, f"{path}.{stamp}-{fraction:09d}")
    directory, name = os.path.split(path)
    aside = sorted(each for each in os.listdir(directory) if each.startswith(f"{name}."))
    for oldest in aside[:-MOST_ASIDE]:
        os.unlink(os.path.join(directory, oldest))
