"""The gRPC server interceptor that counts, times and logs every call and binds its context for log lines.

It only watches: requests, answers and errors pass unchanged. A call that its client gave up counts as
CANCELLED, one whose deadline passed as DEADLINE_EXCEEDED, whatever the method made of the cancellation.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

import grpc
import grpc.aio
import structlog

if TYPE_CHECKING:
    from cri.observe.metrics import Metrics

log = structlog.get_logger(__name__)

Request = TypeVar("Request")
Response = TypeVar("Response")
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # any method's messages pass through here untouched
Behaviour: TypeAlias = Callable[[object, "CallContext"], object]
StreamBehaviour: TypeAlias = Callable[[object, "CallContext"], AsyncGenerator[object, None]]

_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_OUR_FAULT = frozenset({"UNKNOWN", "INTERNAL", "DATA_LOSS"})


class CallContext(Protocol):
    """The part of grpc.aio's servicer context that is read here, with the types it really has."""

    def code(self) -> int | grpc.StatusCode | None:
        """The status code set so far."""

    def details(self) -> str | bytes | None:
        """The message set so far."""

    def time_remaining(self) -> float | None:
        """Seconds to the client's deadline, None without one."""


class ObservingInterceptor(grpc.aio.ServerInterceptor):
    """Feeds `Metrics` with every call of the server that it is given to."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}
        self._request_ids = (f"{_PROCESS}-{number:x}" for number in itertools.count(1))

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Request, Response] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Request, Response] | None:
        """Return the method's handler, wrapped (once per method: handlers live as long as the server)."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:  # CRI has no client-streaming method
            return handler
        path = handler_call_details.method
        known = self._wrapped.get(path)
        if known is None or known[0] is not handler:
            known = (handler, self._wrap(path.rpartition("/")[2], handler))
            self._wrapped[path] = known
        return known[1]

    def _wrap(self, method: str, handler: Handler) -> Handler:
        codec = (handler.request_deserializer, handler.response_serializer)
        if handler.response_streaming:
            behaviour = handler.unary_stream
            watched: object = (
                self._watch_stream(method, cast(StreamBehaviour, behaviour))
                if inspect.isasyncgenfunction(behaviour)
                else self._watch(method, cast(Behaviour, behaviour))  # it writes through the context
            )
            return grpc.unary_stream_rpc_method_handler(cast(Any, watched), *codec)
        watched = self._watch(method, cast(Behaviour, handler.unary_unary))
        return grpc.unary_unary_rpc_method_handler(cast(Any, watched), *codec)

    def _watch(self, method: str, behaviour: Behaviour) -> Behaviour:
        async def watched(request: object, context: CallContext) -> object:
            call = _Call(self._metrics, method, next(self._request_ids), context)
            try:
                answer = behaviour(request, context)
                if inspect.isawaitable(answer):  # a generated default method is not
                    answer = await answer
            except BaseException as error:
                call.failed(error)
                raise
            call.answered()
            return answer

        return watched

    def _watch_stream(self, method: str, behaviour: StreamBehaviour) -> StreamBehaviour:
        async def watched(request: object, context: CallContext) -> AsyncGenerator[object, None]:
            call = _Call(self._metrics, method, next(self._request_ids), context)
            items = behaviour(request, context)
            try:
                async for item in items:
                    yield item
            except BaseException as error:
                call.failed(error)
                raise
            finally:
                await items.aclose()
            call.answered()

        return watched


class _Call:
    """One call from its beginning to its end."""

    __slots__ = ("_began", "_context", "_method", "_metrics")

    def __init__(self, metrics: Metrics, method: str, request_id: str, context: CallContext) -> None:
        self._metrics = metrics
        self._method = method
        self._context = context
        self._began = time.monotonic()
        metrics.rpc_began(method)
        # grpc.aio runs each call in a task of its own, so nothing has to be unbound at the end.
        structlog.contextvars.bind_contextvars(rpc=method, request_id=request_id)

    def answered(self) -> None:
        """The method returned; it may still have set a code of its own."""
        self._end(_code_name(self._context, "OK"))

    def failed(self, error: BaseException) -> None:
        """The method raised: an abort has set the code, anything else is what gRPC will make of it."""
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            remaining = self._context.time_remaining()
            expired = remaining is not None and remaining <= 0
            self._end("DEADLINE_EXCEEDED" if expired else "CANCELLED")
            return
        code = _code_name(self._context, "UNKNOWN")
        self._end(code)
        if code == "UNKNOWN" and not isinstance(error, grpc.aio.AbortError):
            log.error("call failed with an error nobody foresaw", exc_info=error)

    def _end(self, code: str) -> None:
        seconds = time.monotonic() - self._began
        self._metrics.rpc_ended(self._method, code, seconds)
        if code == "OK":
            log.debug("call answered", seconds=seconds)
            return
        write = log.error if code in _OUR_FAULT else log.info
        write("call refused", code=code, seconds=round(seconds, 4), message=_details(self._context))


_PROCESS = secrets.token_hex(2)
"""Tells this server's request ids from those before its restart."""


def _code_name(context: CallContext, otherwise: str) -> str:
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        code = code.value[0]
    return _CODE_NAMES.get(code, otherwise) if code else otherwise


def _details(context: CallContext) -> str:
    details = context.details()
    return details.decode(errors="replace") if isinstance(details, bytes) else str(details or "")
