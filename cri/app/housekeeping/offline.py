"""The same work on a node whose server does not run: an index filled from containerd for as long as it takes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

from api.containerd import Client
from api.containerd import errors as containerd_errors
from cri.app.abilities import with_abilities
from cri.app.handlers import build_handlers
from cri.app.host import detect_host
from cri.app.node import assemble
from cri.concurrency.supervision import Supervisor
from cri.errors import Unavailable
from cri.logs.client import LogKeeper
from cri.observe.metrics import Metrics
from cri.sandbox.recovery import survey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from cri.app.config.configuration import Configuration
    from cri.logs.values import Followed, PumpCounters
    from cri.sandbox.engine import PodEngine
    from cri.sandbox.janitor.rounds import Janitor

T = TypeVar("T")


class _NoKeeper(LogKeeper):
    """The log keeper is left in peace: it is not started, and nothing is followed or released."""

    async def start(self) -> None:
        """Not here."""

    async def follow(self, followed: Followed) -> None:
        """Not here."""

    async def release(self, container_id: str) -> PumpCounters | None:
        """Not here."""

    async def statistics(self) -> dict[str, PumpCounters]:
        """Not here."""
        raise Unavailable("no server runs, the log keeper is not asked")


async def on_node(configuration: Configuration, work: Callable[[PodEngine, Janitor], Awaitable[T]]) -> T:
    """Do `work` and let go of everything. Raises Unavailable when containerd does not answer."""
    async with _assembled(configuration) as (pods, janitor):
        return await work(pods, janitor)


@contextlib.asynccontextmanager
async def _assembled(configuration: Configuration) -> AsyncIterator[tuple[PodEngine, Janitor]]:
    section = configuration.containerd
    try:
        async with Client(section.address, section.namespace) as client, Supervisor() as supervisor:
            host = detect_host()
            handlers = await with_abilities(build_handlers(configuration), client, host)
            assembly = assemble(
                configuration, client, Metrics(), supervisor, "", handlers, host, keeper=_NoKeeper
            )
            for network in assembly.networks:
                await network.load()
            pods, observer = assembly.on.pods, assembly.on.observer
            await survey(pods)
            observer.recovered.set()
            yield pods, assembly.janitor
    except containerd_errors.ContainerdError as error:
        raise Unavailable(str(error)) from error
