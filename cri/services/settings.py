"""Limits of the gRPC server, as `[grpc]` has them."""

from __future__ import annotations

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024
PLACES = 4096


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """How much at a time; message sizes in bytes."""

    max_concurrent_rpcs: int = PLACES
    max_recv_message_size: int = 16 * MEBIBYTE
    max_send_message_size: int = 16 * MEBIBYTE
