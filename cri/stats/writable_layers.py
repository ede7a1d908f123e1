"""How much containers have written into their root file systems: asked of containerd's snapshotters, now and then.

For a writable snapshot the daemon walks the whole tree, so every layer is measured at most once a period, a few at a
time and in the background; a request gets what was measured last. Only a layer that was never measured is waited for,
and not for long: the kubelet asks for all containers at once and must not wait for the largest of them.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from api.containerd import errors as containerd
from cri.stats.usage import LayerUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from api.containerd import Client
    from cri.concurrency.supervision import Supervisor

log = structlog.get_logger(__name__)

FIRST_MEASURE_SECONDS = 1.0
"""How long a request waits for layers that were never measured."""
_AT_ONCE = 2
_DEFAULT_ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1"

Layer = tuple[str, str]
"""Snapshotter and snapshot key."""


class WritableLayers:
    """Measures writable layers and remembers the results."""

    def __init__(self, client: Client, supervisor: Supervisor, period_seconds: float) -> None:
        """`period_seconds` is the age up to which a result is not made anew."""
        self._client = client
        self._supervisor = supervisor
        self._period = round(period_seconds * 1e9)
        self._results: dict[Layer, LayerUse] = {}
        self._roots: dict[str, str] = {}
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._under_way: dict[Layer, asyncio.Task[None]] = {}

    async def usage(self, layers: Iterable[Layer]) -> Mapping[Layer, LayerUse]:
        """The last results for `layers`; those that could not be measured yet are missing."""
        wanted = list(layers)
        oldest = time.time_ns() - self._period
        for layer in wanted:
            known = self._results.get(layer)
            if known is None or known.at < oldest:
                self._begin(layer)
        first = [self._under_way[layer] for layer in wanted if layer not in self._results]
        if first:
            await asyncio.wait(first, timeout=FIRST_MEASURE_SECONDS)
        return {layer: self._results[layer] for layer in wanted if layer in self._results}

    def forget_all_but(self, layers: Iterable[Layer]) -> None:
        """Drop the results of layers that are not there any more."""
        kept = set(layers)
        for layer in self._results.keys() - kept:
            del self._results[layer]

    async def root(self, snapshotter: str) -> str:
        """The directory of a snapshotter, which says on which file system its layers are."""
        found = self._roots.get(snapshotter)
        if found is None:
            found = await self._ask_root(snapshotter)
        return found

    def _begin(self, layer: Layer) -> None:
        if layer not in self._under_way:
            self._under_way[layer] = self._supervisor.start(f"measure {layer[1][:13]}", self._measure(layer))

    async def _measure(self, layer: Layer) -> None:
        snapshotter, key = layer
        try:
            async with self._turn:
                at = time.time_ns()
                used = await self._client.snapshots(snapshotter).usage(key)
            self._results[layer] = LayerUse(at, used.size, used.inodes)
        except containerd.NotFound:
            self._results.pop(layer, None)
        except containerd.ContainerdError as error:
            log.debug("writable layer could not be measured", snapshot=key, error=str(error))
        finally:
            self._under_way.pop(layer, None)

    async def _ask_root(self, snapshotter: str) -> str:
        guess = f"{_DEFAULT_ROOT}.{snapshotter}"
        try:
            plugins = await self._client.introspection.plugins(
                f"type==io.containerd.snapshotter.v1,id=={snapshotter}"
            )
        except containerd.ContainerdError:
            return guess
        roots = [plugin.exports.get("root", "") for plugin in plugins]
        return self._roots.setdefault(snapshotter, next(filter(None, roots), guess))
