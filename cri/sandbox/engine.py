"""What sandbox operations work with, beyond what container operations need.

`networks` and `settings` are replaced when the configuration is read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cri.container.engine import Engine
    from cri.sandbox.networks import Networks
    from cri.sandbox.settings import SandboxSettings


@dataclass(eq=False, slots=True)
class PodEngine:
    """The collaborators of sandbox operations."""

    engine: Engine
    networks: Networks
    settings: SandboxSettings
