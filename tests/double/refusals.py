"""How a service of the double says no: one exception with a gRPC code, worded as containerd words it."""

from __future__ import annotations

from typing import TypeVar

import grpc

T = TypeVar("T")


class Refusal(Exception):
    """Ends the RPC with this code and text."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def not_found(what: str) -> Refusal:
    return Refusal(grpc.StatusCode.NOT_FOUND, f"{what}: not found")


def already_exists(what: str) -> Refusal:
    return Refusal(grpc.StatusCode.ALREADY_EXISTS, f"{what}: already exists")


def failed_precondition(what: str) -> Refusal:
    return Refusal(grpc.StatusCode.FAILED_PRECONDITION, f"{what}: failed precondition")


def invalid_argument(what: str) -> Refusal:
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"{what}: invalid argument")


def unavailable(what: str) -> Refusal:
    return Refusal(grpc.StatusCode.UNAVAILABLE, f"{what}: unavailable")


def unknown(what: str) -> Refusal:
    """What everything untyped becomes: shim and runc errors above all."""
    return Refusal(grpc.StatusCode.UNKNOWN, f"{what}: unknown")


def found(value: T | None, what: str) -> T:
    """The value, or NOT_FOUND naming `what`."""
    if value is None:
        raise not_found(what)
    return value
