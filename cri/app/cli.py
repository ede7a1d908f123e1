"""The `cri-shim` program's entry: hands each command to its module, importing nothing that it does not need.

The log keeper must stay small, so it is dispatched here, before the command line library is loaded.
"""

from __future__ import annotations

import sys

LOG_KEEPER = "log-keeper"


def main() -> int:
    """Run the command named by `sys.argv` and return the exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == [LOG_KEEPER]:
        from cri.logs.keeper import main as keep_logs

        return keep_logs(arguments[1:])
    from cri.app.commands import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
