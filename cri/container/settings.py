"""What an operator can set about containers; keys as in containerd's CRI plugin."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_LOG_LINE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """Settings of container operations; durations in seconds."""

    max_container_log_line_size: int = DEFAULT_LOG_LINE_BYTES
    """Bytes of a log line before it is split; 0 or less never splits."""
    container_log_rate_limit: int = 0
    """Bytes of log a second that a container may write, 0 for any number."""
    container_log_rotate_size: int = 0
    """Bytes at which a log is set aside without waiting for the kubelet, 0 for never."""
    drain_exec_sync_io_timeout: float = 0.0
    """How long ExecSync waits for output after its process ended; 0 waits until the streams close."""
    unclaimed_result_timeout: float = 600.0
    """How long a container or sandbox that no caller came for is kept."""
