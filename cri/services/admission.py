"""Which calls are let in when there are too many.

A containerd that hangs makes calls pile up. When as many wait as are allowed, the next are refused at once; but the
last places are kept for the calls that end things, and for those that say how the node is: otherwise the kubelet could
neither stop a container nor learn why nothing goes on.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cri.errors import ResourceExhausted
from cri.services.settings import PLACES

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFERRED = frozenset(
    {
        "StopContainer",
        "RemoveContainer",
        "StopPodSandbox",
        "RemovePodSandbox",
        "Version",
        "Status",
    }
)
KEPT_SHARE = 8
"""One place in so many is kept for them."""


class Admission:
    """Counts the calls under way; one per server."""

    def __init__(self, places: int = PLACES) -> None:
        self._places = places - max(1, places // KEPT_SHARE)
        self._taken = 0

    @contextlib.contextmanager
    def place(self, method: str) -> Iterator[None]:
        """A place for as long as a call goes on. Raises ResourceExhausted."""
        if self._taken >= self._places and method not in PREFERRED:
            raise ResourceExhausted(
                f"{method} is refused: {self._taken} calls are under way, which is as many as [grpc] "
                "max_concurrent_rpcs allows; call again, and see `cri-shim status` for what they wait for"
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
