"""How one call of containerd is made: channel, headers, deadline, error translation, observation.

The nouns (`containers.py`, `tasks.py`, ...) bind their methods once through a Link and then only call them.
Nothing in here knows what any service is for.

A Link is a channel seen under one set of headers. The namespace is always there; a lease is put on top with
`Link.under`, which shares the channel and its stubs, so that it costs next to nothing.

Cancelling the task that awaits a call cancels the RPC, and the daemon's context with it, unless the call is one
that has to be finished (`terms.py`, where the deadlines are, too). A call that fails because this side closed
the channel is Unavailable, not a cancellation: nobody cancelled the caller.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Generic, NoReturn, Self, TypeVar
from urllib.parse import quote

import grpc
import grpc.aio

from api.containerd import errors
from api.containerd.terms import NO_DEADLINE, terms_of

Request = TypeVar("Request")
Response = TypeVar("Response")
Stub = TypeVar("Stub")

CallObserver = Callable[[str, str, str, float], None]
"""Called once for each finished call: service ("Tasks"), method ("Start"), gRPC code ("OK"), seconds."""

SEND_FAILED = "Internal error from Core"
"""What gRPC calls a send on a broken stream."""
__all__ = ["NO_DEADLINE", "CallObserver", "Link", "Responses", "ServerStream", "Unary"]

MESSAGE_BYTES = 16 << 20
"""containerd's own default for both directions; gRPC's Python default for receiving is a quarter of it."""

CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    # Without this the percent-encoded socket path becomes the :authority, which strict servers refuse.
    ("grpc.default_authority", "localhost"),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    # A restarted daemon shall be found again at once: gRPC's own back-off grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Clients in one process (two daemons in a test, a new one after a restart) do not share connections.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)

NAMESPACE_HEADER = "containerd-namespace"
LEASE_HEADER = "containerd-lease"


class Link:
    """A channel under one set of headers; see the module's text."""

    def __init__(
        self,
        address: str,
        namespace: str,
        *,
        timeout: float | None = None,
        observer: CallObserver | None = None,
    ) -> None:
        """Open a channel to the unix socket `address`; nothing is sent before the first call.

        `timeout` (seconds) shortens every deadline of the table that is longer.
        """
        self.address = address.removeprefix("unix://")
        self.namespace = namespace
        self.timeout = timeout
        self.observer = observer
        self.metadata = grpc.aio.Metadata((NAMESPACE_HEADER, namespace))
        self._shared = _Shared(
            grpc.aio.insecure_channel(f"unix:{quote(self.address)}", options=CHANNEL_OPTIONS)
        )

    def under(self, lease_id: str) -> Link:
        """The same channel with every call made on behalf of a lease."""
        link = Link.__new__(Link)
        link.__dict__.update(self.__dict__)
        link.metadata = grpc.aio.Metadata((NAMESPACE_HEADER, self.namespace), (LEASE_HEADER, lease_id))
        return link

    def stub(self, kind: Callable[[grpc.aio.Channel], Stub]) -> Stub:
        """The generated stub of a service, made once for each channel."""
        stub = self._shared.stubs.get(kind)
        if stub is None:
            stub = self._shared.stubs[kind] = kind(self._shared.channel)
        return stub  # type: ignore[return-value]

    @property
    def closed(self) -> bool:
        """Whether `close` was called on this link or one that shares its channel."""
        return self._shared.closed

    async def close(self) -> None:
        """Close the channel; calls under way end with Unavailable."""
        self._shared.closed = True
        await self._shared.channel.close()

    def error(self, service: str, method: str, status: grpc.aio.AioRpcError) -> errors.ContainerdError:
        """The exception for a call that ended with `status`."""
        code, details = status.code(), status.details() or ""
        if code is grpc.StatusCode.INTERNAL and details.startswith(SEND_FAILED):
            # gRPC forgets the real status when a message could not be handed to a connection that had just gone.
            code = grpc.StatusCode.UNAVAILABLE
        return errors.from_status(code, details, service=service, method=method, address=self.address)

    def broken(self, service: str, method: str) -> errors.Unavailable:
        """The exception for a call that this side's `close` ended or forbade."""
        return errors.Unavailable(
            f"containerd at {self.address}: the client was closed before {service}.{method} ended",
            service=service,
            method=method,
        )

    def finished(self, service: str, method: str, code: str, began: float) -> None:
        """Tell the observer; `began` is of `time.perf_counter`."""
        if self.observer is not None:
            self.observer(service, method, code, time.perf_counter() - began)


class _Shared:
    """What all links of one channel share."""

    __slots__ = ("channel", "closed", "stubs")

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.closed = False
        self.stubs: dict[object, object] = {}


def grpc_timeout(timeout: float | None, default: float) -> float | None:
    """A deadline in seconds as gRPC takes it: None for none, where NO_DEADLINE says so here."""
    seconds = default if timeout is None else timeout
    return None if seconds == NO_DEADLINE else seconds


class Unary(Generic[Request, Response]):
    """A bound method with one request and one response."""

    __slots__ = ("_call", "_link", "_method", "_service", "_terms")

    def __init__(
        self,
        link: Link,
        call: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        service: str,
        method: str,
    ) -> None:
        self._link = link
        self._call = call
        self._service = service
        self._method = method
        self._terms = terms_of(service, method, link.timeout)

    async def __call__(self, request: Request, timeout: float | None = None) -> Response:
        """Make the call. Raises ContainerdError; `timeout` in seconds, None for the table's."""
        link = self._link
        began = time.perf_counter()
        code = "CANCELLED"
        try:
            call = self._call(
                request, timeout=grpc_timeout(timeout, self._terms.seconds), metadata=link.metadata
            )
            if self._terms.finished:
                await _ended(call)
            response = await call
            code = "OK"
        except grpc.aio.AioRpcError as status:
            code = status.code().name
            raise link.error(self._service, self._method, status) from None
        except (asyncio.CancelledError, grpc.aio.UsageError) as error:
            self._reraise_unless_closed(error)
        finally:
            link.finished(self._service, self._method, code, began)
        return response

    def _reraise_unless_closed(self, error: BaseException) -> NoReturn:
        if self._link.closed and not being_cancelled():
            raise self._link.broken(self._service, self._method) from error
        raise error


class ServerStream(Generic[Request, Response]):
    """A bound method with one request and a stream of responses."""

    __slots__ = ("_call", "_link", "_method", "_service", "_terms")

    def __init__(
        self,
        link: Link,
        call: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        service: str,
        method: str,
    ) -> None:
        self._link = link
        self._call = call
        self._service = service
        self._method = method
        self._terms = terms_of(service, method)

    def __call__(self, request: Request, timeout: float | None = None) -> Responses[Response]:
        """Start the call at once and give its responses; `timeout` as for Unary, for all of them."""
        link = self._link
        try:
            call = self._call(
                request, timeout=grpc_timeout(timeout, self._terms.seconds), metadata=link.metadata
            )
        except grpc.aio.UsageError as error:
            raise link.broken(self._service, self._method) from error
        return Responses(link, call, self._service, self._method)


class Responses(Generic[Response]):
    """The responses of one call, to be iterated over once.

    Not a generator, because closing one that was never iterated over would not run its clean-up, and the call
    would go on. Whoever may stop early says so with `aclose`; cancelling a wait for the next response ends the
    call as well.
    """

    __slots__ = ("_began", "_call", "_ended", "_iterator", "_link", "_method", "_service")

    def __init__(
        self, link: Link, call: grpc.aio.UnaryStreamCall[Any, Response], service: str, method: str
    ) -> None:
        self._link = link
        self._call = call
        self._service = service
        self._method = method
        self._iterator = aiter(call)
        self._began = time.perf_counter()
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Response:
        """The next response. Raises ContainerdError, StopAsyncIteration at the end or after `aclose`."""
        if self._ended:
            raise StopAsyncIteration
        try:
            return await anext(self._iterator)
        except StopAsyncIteration:
            self._end("OK")
            raise
        except grpc.aio.AioRpcError as status:
            self._end(status.code().name)
            raise self._link.error(self._service, self._method, status) from None
        except asyncio.CancelledError as error:
            if self.ended and not being_cancelled():  # closed by another task meanwhile
                raise StopAsyncIteration from None
            self._end("CANCELLED")
            if self._link.closed and not being_cancelled():
                raise self._link.broken(self._service, self._method) from error
            raise

    async def aclose(self) -> None:
        """Cancel the call unless it has ended."""
        self._end("CANCELLED")

    def _end(self, code: str) -> None:
        if not self._ended:
            self._ended = True
            self._call.cancel()
            self._link.finished(self._service, self._method, code, self._began)


async def _ended(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> None:
    """Wait for a call's end, also when cancelled meanwhile; the cancellation goes on after."""
    ended = asyncio.Event()
    call.add_done_callback(lambda _: ended.set())
    cancelled: asyncio.CancelledError | None = None
    while not ended.is_set():
        try:
            await ended.wait()
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def being_cancelled() -> bool:
    """Whether somebody asked the current task to stop (as against a call under it that was broken off)."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
