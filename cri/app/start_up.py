"""What keeps the start short: the kubelet waits for the socket, and a restart should go unnoticed.

Most of a start is the reading of modules, some nine hundred of them. Two rules hold for it. What no RPC needs is
imported by whom it serves, when it does (the commands of `cri.app.commands`, the doctor after READY, cryptography,
pyroute2). And next to nothing that an import makes is garbage, so the collector is kept from looking for it.

`python -X importtime -m cri.app.cli serve` shows what is read and how long it takes, `python -m e2e.load startup`
what it comes to on a node with pods. All figures are those of compiled
modules, which pip, the package and the image bring along.
"""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def nothing_is_garbage() -> Iterator[None]:
    """What the block makes, imports above all, is never looked at by the garbage collector, now or later.

    Collections within the block take an eighth of the imports' time or more; later ones would walk through all modules
    for nothing, while RPCs wait. What is garbage all the same stays, two thousand objects: the classes in whose place
    `slots=True` put others.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
