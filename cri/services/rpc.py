"""What every RPC method is wrapped in: an operation for the stages, and the mapping of errors.

Methods take the request and return the response; they never see the gRPC context. An `rpc` is refused as Unavailable
until the node's state has been recovered from containerd; an `early_rpc` answers before that too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc
import grpc.aio
import structlog

from cri.concurrency.deadline import set_caller_deadline
from cri.observe.stages import operation
from cri.services.errors import status_of
from cri.services.subject import subject

if TYPE_CHECKING:
    from cri.services.collaborators import Collaborators

Q = TypeVar("Q")
A = TypeVar("A")
log = structlog.get_logger(__name__)


class Servicer(Protocol):
    """What the wrapper needs of a servicer."""

    @property
    def on(self) -> Collaborators:
        """The domain."""


S = TypeVar("S", bound=Servicer)
Method = Callable[[S, Q], Awaitable[A]]
Call = Callable[[S, Q, "grpc.aio.ServicerContext[Q, A]"], Awaitable[A]]


def rpc(method: Method[S, Q, A]) -> Call[S, Q, A]:
    """Make a servicer's method of `method`, whose name is the RPC's."""

    async def recovered(self: S, request: Q) -> A:
        self.on.observer.check_recovered()
        return await method(self, request)

    return _wrapped(method.__name__, recovered)


def early_rpc(method: Method[S, Q, A]) -> Call[S, Q, A]:
    """Like `rpc`, for methods that answer without containerd."""
    return _wrapped(method.__name__, method)


def _wrapped(name: str, method: Method[S, Q, A]) -> Call[S, Q, A]:
    async def call(self: S, request: Q, context: grpc.aio.ServicerContext[Q, A]) -> A:
        set_caller_deadline(context.time_remaining())
        about = subject(request)
        if about:
            structlog.contextvars.bind_contextvars(**about)
        try:
            with self.on.admission.place(name), operation(name, **about):
                return await method(self, request)
        except Exception as error:
            code, message = status_of(error)
            if code is grpc.StatusCode.INTERNAL:
                log.exception("internal error", rpc=name)
        await context.abort(code, message)
        raise AssertionError("abort returned")

    call.__name__ = name
    return call
