"""Which versions of CNI the installed plugins speak, and what a list that offers several is to speak with them.

The specification (section 1, version considerations) has the runtime take the highest version that a list offers;
whether the plugins know it is optional to look at. It matters where configuration is newer than the programs, such as
a list offering 1.0.0 and 1.1.0 beside a distribution's plugins. Lists with one version are left as they are: their
STATUS, or their first ADD, tells if a plugin cannot follow.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from cri.network.configuration import VERSIONS, at_version
from cri.network.documents import JsonError, decode_object
from cri.network.errors import PluginFailed, PluginTimedOut
from cri.network.invocation import Parameters, find_program

if TYPE_CHECKING:
    from pathlib import Path

    from cri.network.configuration import NetworkList
    from cri.network.invocation import PluginInvoker

log = structlog.get_logger(__name__)

VERSION_TIMEOUT_SECONDS = 10.0
_NO_CONTAINER = Parameters(network_namespace="dummy", interface="dummy")
"""Plugins built with old libraries want these set, even for VERSION."""


class PluginVersions:
    """Asks plugins for their versions once, and again when the program's file has changed."""

    def __init__(self, invoker: PluginInvoker, bin_dirs: tuple[Path, ...]) -> None:
        self._invoker = invoker
        self._bin_dirs = bin_dirs
        self._known: dict[tuple[str, int, int, int], frozenset[str]] = {}

    async def negotiated(self, network: NetworkList) -> NetworkList:
        """The list in the highest version that it offers and all of its plugins speak.

        Unchanged if it offers only one, or if there is no such version (then STATUS or ADD will say so).
        """
        if len(network.offered) < 2:
            return network
        common = set(network.offered)
        for plugin in network.plugins:
            common &= await self._supported(plugin.type)
        if not common or network.cni_version in common:
            return network
        return at_version(network, max(common, key=VERSIONS.index))

    async def _supported(self, plugin: str) -> frozenset[str]:
        """All versions, if the plugin does not say."""
        identity = await asyncio.to_thread(_identity, plugin, self._bin_dirs)
        if identity is None:
            return frozenset(VERSIONS)
        if identity not in self._known:
            self._known[identity] = await self._ask(plugin)
        return self._known[identity]

    async def _ask(self, plugin: str) -> frozenset[str]:
        question = {"cniVersion": VERSIONS[-1]}
        try:
            output = await self._invoker.call(
                plugin, "VERSION", _NO_CONTAINER, {**question}, VERSION_TIMEOUT_SECONDS
            )
            supported = decode_object(output).get("supportedVersions")
        except (PluginFailed, PluginTimedOut, JsonError) as error:
            log.info("CNI plugin does not tell its versions", plugin=plugin, error=str(error))
            return frozenset(VERSIONS)
        if not isinstance(supported, list):
            return frozenset(VERSIONS)
        return frozenset(version for version in supported if isinstance(version, str))


def _identity(plugin: str, bin_dirs: tuple[Path, ...]) -> tuple[str, int, int, int] | None:
    """What changes when the plugin's program is replaced; None if it is not there."""
    program = find_program(plugin, bin_dirs)
    try:
        status = None if program is None else program.stat()
    except OSError:
        return None
    return None if status is None else (str(program), status.st_mtime_ns, status.st_size, status.st_ino)
