"""The process that an exec adds to a running container."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.errors import InvalidArgument
from cri.oci.process import TERM, merge_environment
from cri.oci.refusals import bad_value, check_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cri.oci.spec import Process, Spec


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """What an Exec or ExecSync asks for."""

    command: tuple[str, ...]
    terminal: bool = False


def exec_process(spec: Spec, request: ExecRequest) -> Process:
    """The container's own process (user, capabilities, environment, labels, limits) with another command.

    The container's terminal is not inherited; one of its own gets TERM. Raises InvalidArgument for an empty
    command.
    """
    process = copy.copy(spec.get("process", {}))
    process.pop("consoleSize", None)
    process["args"] = _checked(request.command)
    process["terminal"] = request.terminal
    if request.terminal:
        process["env"] = merge_environment(process.get("env", ()), [TERM])
    return process


def _checked(command: Iterable[str]) -> list[str]:
    args = list(command)
    if not args:
        raise InvalidArgument("cmd: no command specified")
    if not args[0]:
        raise bad_value("cmd", args, "a list that starts with the path of a program")
    for argument in args:
        check_text("cmd", argument)
    return args
