"""The log keeper: the small process that holds the read ends of all containers' FIFOs and writes their logs.

It outlives the servers that talk to it, so that a container neither stalls on a full pipe nor loses a byte
while the server is killed, restarted or upgraded. It keeps nothing on disk: a keeper that is started again is
told by the server what to follow. This module is its life as a process; the work is in `loop`.

No asyncio, no gRPC, no structlog, and few imports: its memory is a promise (under 20 MiB with 100
containers).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

from cri.logs import protocol
from cri.logs.loop import Keeper

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME: Final = "cri-log-keeper"
USAGE: Final = "usage: log-keeper --socket PATH [--detach]"
_DESCRIPTORS: Final = 65536


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the keeper; the exit status for the shell.

    `--socket PATH` is where to listen. With `--detach` the call returns as soon as the socket answers, and
    the keeper goes on in the background, in a session of its own, complaining into PATH.log.
    """
    path, detach = _parse(list(sys.argv[1:] if arguments is None else arguments))
    if not path:
        print(USAGE, file=sys.stderr)
        return 2
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"a log keeper serves {path} already", file=sys.stderr)
        return 0 if detach else 1
    listener = _listen(path)
    if detach:
        _detach(f"{path}.log")
    _settle_in()
    Keeper(listener, path, _signals()).run()
    return 0


def _parse(options: list[str]) -> tuple[str, bool]:
    """`(absolute socket path or nothing, whether to detach)`; argparse would cost a megabyte of memory."""
    path, detach = "", False
    while options:
        option = options.pop(0)
        if option == "--detach":
            detach = True
        elif option == "--socket" and options:
            path = os.path.abspath(options.pop(0))
        else:
            return "", False
    return path, detach


def _listen(path: str) -> socket.socket:
    """Take over the path: whoever had it before is dead, since we hold the lock."""
    if os.path.lexists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    mask = os.umask(0o177)
    with protocol.socket_address(path) as address:
        listener.bind(address)
    os.umask(mask)
    listener.listen(64)
    return listener


def _detach(complaints: str) -> None:
    """Leave the caller: it waits for this process, which ends here while its child goes on.

    Forking is safe in here and only here: there is one thread and no gRPC.
    """
    log = os.open(complaints, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    if os.fork() > 0:  # noqa: TID251 - the ban is on processes that run gRPC
        os._exit(0)
    os.setsid()
    os.chdir("/")
    for target, source in ((0, nothing), (1, nothing), (2, log)):
        os.dup2(source, target)
    os.close(log)
    os.close(nothing)


def _settle_in() -> None:
    """A name in `ps`, the usual file modes, and as many descriptors as a full node needs."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as name:
        name.write(NAME)
    os.umask(0o022)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _signals() -> socket.socket:
    """A socket that becomes readable when SIGTERM or SIGINT asks for the end; no write is interrupted."""
    wake, signalled = socket.socketpair()
    os.set_blocking(signalled.fileno(), False)
    signal.set_wakeup_fd(signalled.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return wake


if __name__ == "__main__":
    sys.exit(main())
