"""Has the running server take over a changed configuration: all of it or nothing, without a restart.

What may fail comes first: reading and checking the file, asking the runtimes of the handlers, looking at the CNI
directories. Then everything changes at once, between two steps of the event loop, by assignments that cannot fail.
Operations under way go on with what they have read already. Keys that need a restart keep their values; each reload
names them until it has happened.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypedDict

import structlog
from aiohttp import web

from cri.app.abilities import with_abilities
from cri.app.config.assembly import (
    container_settings,
    image_settings,
    oci_settings,
    registry_settings,
    sandbox_settings,
    stream_settings,
)
from cri.app.config.changes import applicable, changes
from cri.app.config.render import render
from cri.app.handlers import build_handlers
from cri.app.node import succeeding_networks
from cri.errors import CriError
from cri.linux.service_manager import READY, reloading, tell
from cri.observe.logging import set_level, set_up_logging
from cri.sandbox.pod_cidrs import restore_pod_cidrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cri.app.config.changes import Change
    from cri.app.config.configuration import Configuration
    from cri.app.node import Assembly
    from cri.concurrency.supervision import Supervisor
    from cri.container.handlers import Handlers
    from cri.observe.slow_operations import SlowOperationLog
    from cri.sandbox.networks import Networks

log = structlog.get_logger(__name__)


class ChangeValue(TypedDict):
    """A key that is different, for JSON."""

    key: str
    before: str
    after: str
    needs_restart: bool


class Reloading:
    """One per server; `run` is kept alive by the supervisor."""

    def __init__(
        self,
        read: Callable[[], Configuration],
        assembly: Assembly,
        supervisor: Supervisor,
        slow_operations: SlowOperationLog,
    ) -> None:
        """`read` gives the configuration anew; it blocks, and raises CriError."""
        self._read = read
        self._assembly = assembly
        self._supervisor = supervisor
        self._slow_operations = slow_operations
        self._turn = asyncio.Lock()
        self._watching: list[asyncio.Task[None]] = []

    def watch_networks(self) -> None:
        """Keep watch over the CNI directories of now, and no more over those of before."""
        for task in self._watching:
            task.cancel()
        self._watching = [
            self._supervisor.keep(f"cni configuration {number}", network.run)
            for number, network in enumerate(self._assembly.networks)
        ]

    async def run(self, wanted: asyncio.Event) -> None:
        """Reload whenever `wanted` is set, for ever; made for `Supervisor.keep`."""
        while True:
            await wanted.wait()
            wanted.clear()
            try:
                await self.reload()
            except CriError as error:
                log.debug("configuration stays as it was", reason=error.message)

    async def reload(self) -> list[Change]:
        """Read and take over; answers and logs what is different now, and what waits for a restart.

        Raises CriError, and logs each reason, when the configuration cannot be used; then nothing has changed.
        """
        async with self._turn:
            tell(reloading())
            try:
                return await self._reload()
            except CriError as error:
                for line in error.message.splitlines():
                    log.error("configuration refused, the old one stays", reason=line)
                raise
            finally:
                tell(READY)

    async def _reload(self) -> list[Change]:
        assembly = self._assembly
        wanted = await asyncio.to_thread(self._read)
        found = changes(assembly.configuration, wanted)
        configuration = applicable(assembly.configuration, wanted)
        # Even with the same keys: the files that they name may have changed.
        handlers = await with_abilities(
            await asyncio.to_thread(build_handlers, configuration), assembly.client, assembly.on.engine.host
        )
        networks = succeeding_networks(assembly.networks, configuration, handlers)
        for network in networks:
            await network.load()
        self._take_over(configuration, handlers, networks)
        await restore_pod_cidrs(assembly.on.pods)
        for change in found:
            _tell_of(change)
        log.info("configuration read again", changes=len(found))
        return found

    def _take_over(self, configuration: Configuration, handlers: Handlers, networks: Networks) -> None:
        """Nothing here waits, and only the first step can fail."""
        on = self._assembly.on
        on.engine.images.reconfigure(image_settings(configuration), registry_settings(configuration))
        on.engine.handlers = handlers
        on.engine.oci = oci_settings(configuration)
        on.engine.settings = container_settings(configuration)
        on.pods.settings = sandbox_settings(configuration)
        on.streams.reconfigure(stream_settings(configuration))
        self._assembly.janitor.interval_seconds = configuration.janitor.interval
        self._slow_operations.threshold_seconds = configuration.debug.slow_operation_threshold
        if configuration.debug.format != self._assembly.configuration.debug.format:
            set_up_logging(configuration.debug.level, configuration.debug.format)
        set_level(configuration.debug.level)
        renewed = list(networks) != list(on.pods.networks)
        on.pods.networks = networks
        self._assembly.configuration = configuration
        if renewed:
            self.watch_networks()


def _tell_of(change: Change) -> None:
    if change.needs_restart:
        log.warning("key needs a restart", key=change.key, in_effect=change.before, configured=change.after)
    else:
        log.info("key changed", key=change.key, before=change.before, after=change.after)


def routes(reloading: Reloading, assembly: Assembly) -> Sequence[web.AbstractRouteDef]:
    """For `cri.observe.admin.run_admin`.

    POST /reload         read the configuration again
    GET  /configuration  what is in effect, as TOML without secrets
    """

    async def reload(_request: web.Request) -> web.Response:
        return web.json_response(
            [
                ChangeValue(
                    key=change.key,
                    before=change.before,
                    after=change.after,
                    needs_restart=change.needs_restart,
                )
                for change in await reloading.reload()
            ]
        )

    async def configuration(_request: web.Request) -> web.Response:
        return web.json_response(render(assembly.configuration))

    return (web.post("/reload", reload), web.get("/configuration", configuration))
