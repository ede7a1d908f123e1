"""Answers for RPCs that are not built yet: UNIMPLEMENTED with the RPC's name, which kubelet takes as "fall back"."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

T = TypeVar("T", bound=type)
Context = grpc.aio.ServicerContext[Message, Message]


def missing_methods(service: ServiceDescriptor, servicer: type) -> list[MethodDescriptor]:
    """The RPCs of `service` that neither `servicer` nor a class of ours below it defines."""
    own = {
        name for kind in servicer.__mro__ if not kind.__module__.startswith("api.wire") for name in vars(kind)
    }
    return [method for method in service.methods if method.name not in own]


def answer_unimplemented(service: ServiceDescriptor, servicer: type) -> None:
    """Give `servicer` a method for each RPC that it lacks."""
    for method in missing_methods(service, servicer):
        text = f"{service.name}/{method.name} is not implemented by this version of cri-shim"
        setattr(servicer, method.name, _stream(text) if method.server_streaming else _unary(text))


def _unary(text: str) -> object:
    async def call(_self: object, _request: Message, context: Context) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)

    return call


def _stream(text: str) -> object:
    async def call(_self: object, _request: Message, context: Context) -> AsyncIterator[Message]:
        for _ in ():
            yield Message()  # makes this a generator, which a streaming method must be
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)

    return call
