"""Puts a servicer's methods onto a gRPC server, with the serialiser that also takes encoded answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import grpc.aio
from google.protobuf import message_factory

from cri.services.encoding import serialised

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor


def add_service(server: grpc.aio.Server, service: ServiceDescriptor, servicer: object) -> None:
    """Register every RPC of `service`; `servicer` has a method for each (see `unimplemented`)."""
    handlers = {method.name: _handler(method, servicer) for method in service.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


def _handler(method: MethodDescriptor, servicer: object) -> grpc.RpcMethodHandler[object, object]:
    request = message_factory.GetMessageClass(method.input_type)
    make = (
        grpc.unary_stream_rpc_method_handler
        if method.server_streaming
        else grpc.unary_unary_rpc_method_handler
    )
    return make(
        getattr(servicer, method.name),
        request_deserializer=request.FromString,
        response_serializer=serialised,
    )
