"""What happens around every RPC: who calls, the call log, faults on request, refusals as statuses.

An interceptor wraps each handler, so that the services are only about their own subject. The caller's namespace
and lease are in a context variable: gRPC runs each RPC in a task of its own.
"""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import Message

from tests.double.refusals import Refusal, failed_precondition

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf an RPC is made."""

    namespace_header: str
    lease: str

    @property
    def namespace(self) -> str:
        """Raises FAILED_PRECONDITION when the header is missing."""
        if not self.namespace_header:
            raise failed_precondition("namespace is required")
        return self.namespace_header


@dataclass(frozen=True, slots=True)
class Call:
    """One RPC in the log, noted when it came in."""

    method: str
    """Such as "Tasks.Start"."""
    request: Message | None
    """None for streams from the client."""
    namespace: str
    lease: str


@dataclass(slots=True)
class Hang:
    """Holds the calls of a method until it is released; made by `ContainerdDouble.hang`."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a call hangs."""
    released: asyncio.Event = field(default_factory=asyncio.Event)
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a held call was cancelled by its caller."""

    async def wait(self) -> None:
        """What a held call does."""
        self.reached.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.abandoned.set()
            raise

    def release(self) -> None:
        """Let the held calls go on, and later ones pass."""
        self.released.set()


@dataclass(slots=True)
class Fault:
    """What goes wrong with the calls whose name matches a pattern."""

    pattern: str
    act: Callable[[], Awaitable[None]]
    times: int | None
    """How often; None for always."""
    skip: int = 0
    """How many matching calls pass first."""
    late: bool = False
    """Whether it strikes after the call has had its effect, losing only the answer."""

    def strikes(self, method: str, *, late: bool) -> bool:
        """Whether this call is hit; counts it."""
        if self.late != late or not fnmatch.fnmatchcase(method, self.pattern) or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


_caller: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """Who makes the RPC that is being served."""
    return _caller.get()


class Interceptor(grpc.aio.ServerInterceptor):
    """Wraps all handlers; see the module's text."""

    def __init__(self, after_call: Callable[[], None]) -> None:
        """`after_call` runs after each call that succeeded."""
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self._after_call = after_call

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        service, _, method = handler_call_details.method.rpartition("/")
        name = f"{service.rpartition('.')[2]}.{method}"
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(name, handler.unary_unary),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(name, handler.unary_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        assert handler.stream_stream is not None, f"{name} is of a kind that no service of containerd has"
        return grpc.stream_stream_rpc_method_handler(
            self._stream(name, handler.stream_stream),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(
        self, name: str, behaviour: Callable[..., Awaitable[Message]]
    ) -> Callable[..., Awaitable[Message]]:
        async def serve(request: Message, context: Context) -> Message:
            self._begin(name, request, context)
            try:
                await self._strike(name, late=False)
                answer = await behaviour(request, context)
                await self._strike(name, late=True)
            except Refusal as refusal:
                await _abort(context, refusal)
            self._after_call()
            return answer

        return serve

    def _stream(self, name: str, behaviour: Callable[..., Any]) -> Callable[..., AsyncIterator[Message]]:
        async def serve(
            request: Message | AsyncIterator[Message], context: Context
        ) -> AsyncIterator[Message]:
            self._begin(name, request if isinstance(request, Message) else None, context)
            try:
                await self._strike(name, late=False)
                async for answer in behaviour(request, context):
                    yield answer
                await self._strike(name, late=True)
            except Refusal as refusal:
                await _abort(context, refusal)
            self._after_call()

        return serve

    def _begin(self, name: str, request: Message | None, context: Context) -> None:
        headers = dict(context.invocation_metadata() or ())
        who = Caller(_text(headers.get("containerd-namespace")), _text(headers.get("containerd-lease")))
        _caller.set(who)
        self.calls.append(Call(name, request, who.namespace_header, who.lease))

    async def _strike(self, name: str, *, late: bool) -> None:
        for fault in list(self.faults):
            if fault.strikes(name, late=late):
                await fault.act()


async def _abort(context: Context, refusal: Refusal) -> NoReturn:
    await context.abort(refusal.code, refusal.message)


def _text(header: str | bytes | None) -> str:
    return header.decode() if isinstance(header, bytes) else header or ""
