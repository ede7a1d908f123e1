"""What a pull is told to do. A value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cri.image.credentials import Keyring
    from cri.image.platform import Platform
    from cri.image.reference import Reference


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be pulled, as whom, for which platform and into which snapshotter."""

    reference: Reference
    keyring: Keyring
    snapshotter: str
    platform: Platform
