"""The gRPC server of both services, with its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc.aio

from api.wire.criv1 import image_service_pb2, runtime_service_pb2
from cri.services.image import ImageService
from cri.services.registration import add_service
from cri.services.runtime import RuntimeService

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cri.services.collaborators import Collaborators
    from cri.services.settings import ServiceSettings

MOST_PENDING = 65536
"""Calls that have come in and were not looked at yet. By default gRPC drops them at random beyond 1000 and all beyond
3000, and clients see CANCELLED, which does not tell them to call again."""


def cri_server(
    on: Collaborators, settings: ServiceSettings, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
) -> grpc.aio.Server:
    """A server that does not listen yet."""
    server = grpc.aio.server(
        maximum_concurrent_rpcs=settings.max_concurrent_rpcs,
        interceptors=interceptors,
        options=[
            ("grpc.max_receive_message_length", settings.max_recv_message_size),
            ("grpc.max_send_message_length", settings.max_send_message_size),
            ("grpc.server.max_pending_requests", MOST_PENDING),
            ("grpc.server.max_pending_requests_hard_limit", MOST_PENDING),
        ],
    )
    runtime = runtime_service_pb2.DESCRIPTOR.services_by_name["RuntimeService"]
    image = image_service_pb2.DESCRIPTOR.services_by_name["ImageService"]
    add_service(server, runtime, RuntimeService(on))
    add_service(server, image, ImageService(on))
    return server
