"""Errors that somebody in this package catches."""

from __future__ import annotations


class ProtocolError(Exception):
    """The peer sent what its protocol does not allow; the connection is of no further use. Says what it was."""


class Refused(Exception):
    """The request gets this HTTP answer and nothing is started."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(status, message, headers)
        self.status = status
        self.message = message
        self.headers = headers
