"""What an operator can set about pod sandboxes; keys as in containerd's CRI plugin."""

from __future__ import annotations

from dataclasses import dataclass

from cri.container.handlers import SandboxMode

DEFAULT_SANDBOX_IMAGE = "registry.k8s.io/pause:3.10"


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Settings of sandbox operations."""

    sandbox_image: str = DEFAULT_SANDBOX_IMAGE
    """Image of the sandbox container; pulled when one is needed and it is absent."""
    sandbox_mode: SandboxMode = SandboxMode.AUTO
    """Of handlers without a mode of their own; the key is ours."""
