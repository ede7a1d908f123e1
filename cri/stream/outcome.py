"""How the end of a command is told on the error stream: as text up to version 3, as a JSON status from version 4."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ended:
    """The command has run; for an attach the container has ended, which counts as 0."""

    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The command could not be run, or its end is not known."""

    message: str


Outcome = Ended | Failed


def as_text(outcome: Outcome) -> bytes:
    """What goes wrong in words; empty for a success, about which these versions say nothing."""
    match outcome:
        case Ended(0):
            return b""
        case Ended(code):
            return f"command terminated with exit code {code}".encode()
        case Failed(message):
            return message.encode()


def as_status(outcome: Outcome) -> bytes:
    """A Kubernetes `Status` object; clients read the exit code from the cause `ExitCode`."""
    match outcome:
        case Ended(0):
            status: dict[str, object] = {"status": "Success"}
        case Ended(code):
            status = {
                "status": "Failure",
                "message": f"command terminated with exit code {code}",
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
            }
        case Failed(message):
            status = {"status": "Failure", "message": message, "reason": "InternalError", "code": 500}
    return json.dumps({"metadata": {}, **status}, separators=(",", ":")).encode()
