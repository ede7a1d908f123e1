"""The CNI configuration as it is now, kept up to date, and whether its plugins say that they are willing.

Everything is answered from memory. One task watches the directories; another asks plugins for their STATUS, on
demand only: while nobody asks for the status, no plugin is run.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from cri.errors import CriError, Unavailable
from cri.linux.directory_watch import DirectoryWatch
from cri.network.directory import Scan, scan
from cri.network.list_execution import ListExecution
from cri.network.plugin_versions import PluginVersions
from cri.network.status import NetworkStatus, network_status

if TYPE_CHECKING:
    from cri.network.configuration import NetworkList
    from cri.network.invocation import PluginInvoker
    from cri.network.settings import NetworkSettings

log = structlog.get_logger(__name__)

POLL_SECONDS = 10.0
"""How often the directories are looked at without any event, while the network is ready,"""
POLL_SECONDS_NOT_READY = 2.0
"""and while it is not."""
STATUS_SECONDS = 5.0
"""A plugin's answer to STATUS counts for this long; an older one is still used, but asked anew meanwhile."""
STATUS_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the plugins of one scan said to STATUS; no complaint means that all are willing."""

    of: Scan
    complaint: str
    at: float
    """Event loop time."""


class LiveConfiguration:
    """The networks of one configuration directory."""

    def __init__(self, settings: NetworkSettings, invoker: PluginInvoker) -> None:
        self._settings = settings
        self._invoker = invoker
        self._versions = PluginVersions(invoker, settings.bin_dirs)
        self._loading = asyncio.Lock()
        self._scan: Scan | None = None
        self._verdict: _Verdict | None = None
        self._verdict_wanted = asyncio.Event()

    @property
    def current(self) -> Scan:
        """What the last look at the directory gave; empty before the first."""
        return self._scan or Scan()

    async def usable_networks(self) -> tuple[NetworkList, ...]:
        """The networks for a new pod; looks again if there are none, so that no pod waits for the watch.

        Raises Unavailable saying why there are none.
        """
        if not self.current.networks:
            await self.load()
        if not self.current.networks:
            raise Unavailable(f"pod network: {self.status().message}")
        return self.current.networks

    async def load(self) -> None:
        """Look at the directory now."""
        async with self._loading:  # so that a slow look never replaces a later one
            found = await asyncio.to_thread(scan, self._settings)
            networks = [await self._versions.negotiated(network) for network in found.networks]
            self._take(replace(found, networks=tuple(networks)))

    def _take(self, found: Scan) -> None:
        if found == self._scan:
            return
        self._scan = found
        self._verdict_wanted.set()
        log.info(
            "CNI configuration read",
            directory=str(self._settings.conf_dir),
            networks=[f"{network.name} ({network.source})" for network in found.networks],
            obstacle=found.obstacle,
            not_used=found.problems,
        )

    def status(self) -> NetworkStatus:
        """The NetworkReady condition."""
        return network_status(self._scan, self._complaint())

    async def run(self) -> None:
        """Keep watch for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_loaded(), name="cni:configuration")
            group.create_task(self._keep_asking(), name="cni:status")

    async def _keep_loaded(self) -> None:
        async with DirectoryWatch([self._settings.conf_dir, *self._settings.bin_dirs]) as watch:
            while True:
                await watch.arm()
                await self.load()
                await watch.changed(POLL_SECONDS if self.status().ready else POLL_SECONDS_NOT_READY)

    async def _keep_asking(self) -> None:
        while True:
            await self._verdict_wanted.wait()
            self._verdict_wanted.clear()
            asked = self.current
            complaint = await self._ask(asked)
            self._verdict = _Verdict(of=asked, complaint=complaint, at=asyncio.get_running_loop().time())

    async def _ask(self, asked: Scan) -> str:
        for network in asked.networks:
            try:
                await ListExecution(network, self._invoker).status(STATUS_TIMEOUT_SECONDS)
            except CriError as error:
                return f"network {network.name!r} ({network.source}): {error.message}"
        return ""

    def _complaint(self) -> str:
        """What the plugins last objected to; has them asked again, in the background, if that was long ago."""
        if not any(network.has_status for network in self.current.networks):
            return ""
        if self._verdict is None or self._verdict.of is not self._scan:
            self._verdict_wanted.set()
            return "the CNI plugins have not answered STATUS yet"
        if asyncio.get_running_loop().time() - self._verdict.at > STATUS_SECONDS:
            self._verdict_wanted.set()
        return self._verdict.complaint
