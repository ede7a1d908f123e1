"""The NetworkReady condition: what was read and what plugins said, in one sentence. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cri.network.directory import Scan

NOT_READY = "NetworkPluginNotReady"
"""The reason that the kubelet shows and operators search for."""


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """The NetworkReady condition of CRI's Status."""

    ready: bool
    reason: str
    """"NetworkPluginNotReady" when not ready, else empty."""
    message: str
    """Names each bad file with its mistake, also when others make the network ready."""


def network_status(scan: Scan | None, complaint: str) -> NetworkStatus:
    """The condition for a scan (None: not done yet) and what a plugin's STATUS complained of, if it did."""
    if scan is None:
        return NetworkStatus(
            ready=False,
            reason=NOT_READY,
            message="CNI configuration has not been read yet: the server is starting",
        )
    if not scan.networks:
        why = scan.obstacle or "no usable file"
        return NetworkStatus(
            ready=False,
            reason=NOT_READY,
            message=_sentence(f"cni plugin not initialized: {why}", scan.problems),
        )
    if complaint:
        return NetworkStatus(ready=False, reason=NOT_READY, message=_sentence(complaint, scan.problems))
    return NetworkStatus(ready=True, reason="", message=_sentence("", scan.problems))


def _sentence(text: str, problems: tuple[str, ...]) -> str:
    parts = [text] if text else []
    if problems:
        parts.append(f"not used: {'; '.join(problems)}")
    return "; ".join(parts)
