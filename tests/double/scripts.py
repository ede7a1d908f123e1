"""Scripts: what a fake process does. Some programs have a default one, tests set others."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Script:
    """A fake process writes its output, then perhaps reads stdin to its end, then exits or lives on."""

    stdout: bytes = b""
    stderr: bytes = b""
    stdin: Literal["ignore", "collect", "echo"] = "ignore"
    """"collect" reads to `FakeProcess.received`, "echo" also copies to stdout, both until end of file."""
    exit_code: int | None = None
    """Exits with it after all that; None: lives until it is told or signalled."""
    ignores: frozenset[int] = frozenset()
    """Signals without effect."""
    exit_codes: Mapping[int, int] = field(default_factory=dict)
    """Signals that it handles by exiting with a code of its own."""
    create_error: str = ""
    """Text of runc's refusal to create it (init processes)."""
    start_error: str = ""
    """Text of runc's refusal to start it."""
    keeps_output_open: bool = False
    """As if a child that it left behind held its stdout and stderr."""


LIVES = Script()
STUBBORN = Script(ignores=frozenset({signal.SIGTERM, signal.SIGINT}))
"""Takes nothing but SIGKILL."""


def default_script(args: Sequence[str]) -> Script:
    """A guess from the command line: a few programs are known, all others live until they are signalled."""
    match [*args]:
        case [("true" | "/bin/true"), *_]:
            return Script(exit_code=0)
        case [("false" | "/bin/false"), *_]:
            return Script(exit_code=1)
        case [("echo" | "/bin/echo"), *words]:
            return Script(stdout=" ".join(words).encode() + b"\n", exit_code=0)
        case [("cat" | "/bin/cat")]:
            return Script(stdin="echo", exit_code=0)
        case [("sh" | "/bin/sh"), "-c", command] if command.startswith("exit "):
            return Script(exit_code=int(command.split()[1]))
        case [program, *_] if program.endswith("/nonexistent"):
            missing = f'exec: "{program}": stat {program}: no such file or directory'
            return Script(create_error=missing, start_error=missing)
        case _:
            return LIVES
