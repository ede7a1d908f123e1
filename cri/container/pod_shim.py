"""The shim of a pod that no process holds: it ends with the pod's last task, and a start must not meet its end.

containerd's shim for runc is asked to end whenever a task has been deleted, and does so if it has no other. A task that
is created at that moment may be given the address of the shim that is about to go. So a start waits for deletions that
would be the last, and one that met the end nevertheless (a container ended only then) is tried again, with a new shim.

Nor may two tasks of such a pod be created at once. A shim takes the pod's address by bind(2) and listen(2); a second
one that comes between the two finds an address at which nobody answers, takes it for a dead shim's and replaces it.
Both tasks then go to the second, and the first waits for ever for a task that never comes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from api.containerd import errors as containerd_errors
from cri.observe.stages import stage
from cri.state.container_status import Phase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cri.container.engine import Engine
    from cri.state.sandbox import Sandbox

SETTLE_SECONDS: Final = 5.0
_GONE: Final = (
    "ttrpc: closed",
    "connect: connection refused",
    "connect: no such file or directory",
    "remove pre-existing socket",
)
"""What containerd answers, as errors of unknown kind, when a shim has ended after it gave its address.

The last: the next shim was to remove the socket of this one, which was quicker to do so itself.
"""


@contextlib.asynccontextmanager
async def only_task_creation(engine: Engine, sandbox: Sandbox) -> AsyncIterator[None]:
    """Hold the block, in which a task is created, until the pod's shim can be neither made twice nor about to end."""
    if sandbox.shim_owner:
        yield
        return
    async with contextlib.AsyncExitStack() as held:
        with stage("shim"):
            await held.enter_async_context(sandbox.task_creation)
            await _settled(engine, sandbox)
        yield


async def _settled(engine: Engine, sandbox: Sandbox) -> None:
    """Wait until the shim either has a container that runs or has gone; not for ever, then a start is tried."""
    siblings = engine.node.containers_of(sandbox.id)
    if any(each.running for each in siblings):
        return
    ending = [each for each in siblings if each.status.phase is Phase.EXITED]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            for each in ending:
                await each.task_deleted.wait()


def met_its_end(sandbox: Sandbox, error: Exception) -> bool:
    """Whether a task could not be created because the pod's shim was just ending."""
    if sandbox.shim_owner or not isinstance(error, containerd_errors.Unknown | containerd_errors.Unavailable):
        return False
    return any(text in str(error) for text in _GONE)
