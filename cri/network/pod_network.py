"""The pod network as the rest of the server sees it: attach a sandbox, detach it, say if that would work.

What a sandbox was attached with outlives the configuration: it is cached on disk before the first plugin runs,
returned for the sandbox record, and DEL uses it, whatever the directory says by then.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from cri.errors import CriError, Unavailable
from cri.linux.namespaces import is_namespace
from cri.network import garbage, pod_cidrs
from cri.network.attachment import Attachment, checked_container_id
from cri.network.cache import AttachmentCache
from cri.network.configuration import parse_stored
from cri.network.describe import describe
from cri.network.gate import Gate
from cri.network.invocation import PluginInvoker
from cri.network.list_execution import ListExecution
from cri.network.live_configuration import LiveConfiguration
from cri.network.request import PodRequest, PortMapping
from cri.network.reservations import Reservation, reservations
from cri.network.result import INTERFACE_PREFIX, PRIMARY_INTERFACE, AttachmentResult, combine
from cri.network.result_document import parse_result
from cri.network.runtime_config import capability_arguments, cni_arguments
from cri.network.status import NetworkStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence

    from cri.network.configuration import NetworkList
    from cri.network.documents import JsonObject
    from cri.network.settings import NetworkSettings

__all__ = ["NetworkStatus", "PodNetwork", "PodRequest", "PortMapping"]

T = TypeVar("T")
log = structlog.get_logger(__name__)

GARBAGE_PATIENCE_SECONDS = 5.0
"""How long new pods may be held up until garbage collection has the network for itself."""


class PodNetwork:
    """Attaches sandboxes to the configured CNI networks and keeps watch over the configuration."""

    def __init__(
        self,
        settings: NetworkSettings,
        observer: Callable[[str, str, float, bool], None] | None = None,
        *,
        gate: Gate | None = None,
    ) -> None:
        """`observer` is called after each plugin call with (plugin type, verb, seconds, succeeded).

        `gate` is that of the network that this one takes the place of.
        """
        self.settings = settings
        self._observer = observer
        self._invoker = PluginInvoker(settings, observer)
        self._configuration = LiveConfiguration(settings, self._invoker)
        self._cache = AttachmentCache(settings.cache_dir)
        self._gate = gate or Gate()
        self._pod_cidrs: tuple[str, ...] = ()

    def successor(self, settings: NetworkSettings) -> PodNetwork:
        """A network with other settings in the place of this one; what goes on here goes on undisturbed."""
        other = PodNetwork(settings, self._observer, gate=self._gate)
        other._pod_cidrs = self._pod_cidrs
        return other

    async def load(self) -> None:
        """Read the configuration directory now. Called once before serving; `run` does it from then on."""
        await self._configuration.load()

    async def run(self) -> None:
        """Watch the configuration for ever, and ask plugins for their status. For the server's supervisor."""
        await self._configuration.run()

    def status(self) -> NetworkStatus:
        """Whether pods can be attached now. Answers from memory; never waits for a plugin."""
        return self._configuration.status()

    def describe(self) -> JsonObject:
        """The loaded configuration in the shape of containerd's verbose status (`cniconfig`)."""
        return describe(self.settings, self._configuration.current)

    async def attach(self, request: PodRequest) -> AttachmentResult:
        """ADD the sandbox to every configured network: eth0, eth1, … in the order of the files' names.

        Counts as done from the moment it was started: after an error or a cancellation call `detach` with no
        result. Raises Unavailable when no network is configured or a plugin fails, DeadlineExceeded when one
        hangs, InvalidArgument when a bandwidth annotation or a port mapping is wrong.
        """
        networks = await self._configuration.usable_networks()
        planned = self._plan(request, networks)
        async with self._gate.together():
            await self._store(planned)
            results = await self._each(
                [
                    ListExecution(network, self._invoker).add(attachment)
                    for network, attachment in zip(networks, planned, strict=True)
                ]
            )
            done = [replace(item, result=result) for item, result in zip(planned, results, strict=True)]
            await self._store(done)
        attached = combine(
            [
                (attachment.interface, parse_result(result, network.cni_version))
                for network, attachment, result in zip(networks, planned, results, strict=True)
            ],
            done,
        )
        if not any(item.interface == PRIMARY_INTERFACE for item in attached.ips):
            raise Unavailable(
                f"CNI network {networks[0].name!r} ({networks[0].source}) gave sandbox {request.sandbox_id} "
                f"no address on {PRIMARY_INTERFACE}; check its ipam section"
            )
        return attached

    async def detach(self, request: PodRequest, result: AttachmentResult | None) -> None:
        """DEL the sandbox from the networks that it was added to, with the configuration that ADD used.

        `result` is what attach returned (from the sandbox record), None if that is not known. Idempotent;
        success when there is nothing to undo. Tries every network, then raises what went wrong (Unavailable,
        DeadlineExceeded); what failed stays cached, so that calling again tries it again.
        """
        attachments = await self._attachments(request, result)
        namespace = await asyncio.to_thread(_usable_namespace, request.network_namespace)
        await self._each([self._delete(attachment, namespace) for attachment in reversed(attachments)])

    async def check(self, request: PodRequest, result: AttachmentResult | None) -> None:
        """CNI CHECK: ask the plugins whether the sandbox's network is intact. Raises what they object to."""
        for attachment in await self._attachments(request, result):
            await ListExecution(_network_of(attachment), self._invoker).check(attachment)

    async def attachments(self) -> tuple[Attachment, ...]:
        """Everything that is cached, other programs' included."""
        return await asyncio.to_thread(self._cache.all)

    async def reservations(self) -> list[Reservation]:
        """Addresses that host-local keeps reserved on the configured networks."""
        return await asyncio.to_thread(reservations, self._configuration.current.networks)

    async def stale_attachments(
        self, known: Callable[[], Collection[str]], ours: Callable[[Attachment], bool] = lambda _: True
    ) -> tuple[Attachment, ...]:
        """Cached attachments of pods that do not exist any more, for a dry run of `collect_garbage`.

        `known` gives the IDs of all sandboxes of this containerd, whoever made them; it is called after the
        cache was read. `ours` tells this server's attachments from those of others who share the cache.
        """
        cached = await asyncio.to_thread(self._cache.all)
        return garbage.stale_attachments(cached, known(), ours)

    async def collect_garbage(
        self, known: Callable[[], Collection[str]], ours: Callable[[Attachment], bool] = lambda _: True
    ) -> list[CriError]:
        """DEL what `stale_attachments` finds, then let plugins drop what they alone know of (CNI GC).

        Returns what went wrong; nothing stops the rest. Holds up new pods while plugins run GC, which few have.
        """
        errors: list[CriError] = []
        for attachment in await self.stale_attachments(known, ours):
            namespace = await asyncio.to_thread(_usable_namespace, attachment.network_namespace)
            try:
                await self._delete(attachment, namespace)
            except CriError as error:
                errors.append(error)
        networks = self._configuration.current.networks
        if not any(network.has_status for network in networks):
            return errors
        try:
            async with self._gate.alone(GARBAGE_PATIENCE_SECONDS):
                cached = await asyncio.to_thread(self._cache.all)
                for index, network in enumerate(networks):
                    valid = garbage.valid_attachments(network, index, cached, known(), ours)
                    errors += await ListExecution(network, self._invoker).collect_garbage(sorted(valid))
        except Unavailable as error:
            errors.append(error)
        return errors

    async def set_pod_cidrs(self, cidrs: Sequence[str]) -> None:
        """Take over the node's pod CIDRs (CRI's UpdateRuntimeConfig). Empty is a no-op.

        They are offered to plugins as `ipRanges`, and fill in `conf_template` if there is one and nothing
        else makes the network ready. The caller keeps them over a restart. Raises InvalidArgument for a bad CIDR
        and FailedPrecondition for a template that does not render to a valid network list.
        """
        checked = pod_cidrs.checked_cidrs(cidrs)
        if not checked:
            return
        if self.settings.conf_template is not None:
            await self._render(self.settings.conf_template, checked)
        self._pod_cidrs = checked

    async def _render(self, template: Path, cidrs: tuple[str, ...]) -> None:
        await self.load()
        rendered = self.settings.conf_dir / pod_cidrs.RENDERED_NAME
        if self._configuration.current.networks and not await asyncio.to_thread(rendered.is_file):
            log.info("CNI network is ready without the template", template=str(template))
            return
        data = await asyncio.to_thread(pod_cidrs.render_configuration, template, cidrs)
        if await asyncio.to_thread(pod_cidrs.write_rendered, self.settings.conf_dir, data):
            log.info("CNI configuration rendered", file=str(rendered), pod_cidrs=cidrs)
        await self.load()

    def _plan(self, request: PodRequest, networks: Sequence[NetworkList]) -> list[Attachment]:
        container_id = checked_container_id(request.sandbox_id)
        arguments = cni_arguments(request)
        capabilities = capability_arguments(request, self._pod_cidrs)
        return [
            Attachment(
                network=network.name,
                container_id=container_id,
                interface=f"{INTERFACE_PREFIX}{index}",
                config=network.config,
                network_namespace="" if request.network_namespace is None else str(request.network_namespace),
                arguments=arguments,
                capabilities=capabilities,
            )
            for index, network in enumerate(networks)
        ]

    async def _attachments(
        self, request: PodRequest, result: AttachmentResult | None
    ) -> Sequence[Attachment]:
        """What the sandbox is attached to: from its record, else from the cache.

        With neither, nothing was ever begun, unless another server attached it and left only its result: then
        the present configuration is the best there is.
        """
        checked_container_id(request.sandbox_id)
        if result is not None and result.attachments:
            return result.attachments
        cached = await asyncio.to_thread(self._cache.of_sandbox, request.sandbox_id)
        if cached or result is None:
            return cached
        return self._plan(request, await self._configuration.usable_networks())

    async def _delete(self, attachment: Attachment, network_namespace: str) -> None:
        async with self._gate.together():
            await ListExecution(_network_of(attachment), self._invoker).delete(attachment, network_namespace)
            try:
                await asyncio.to_thread(self._cache.remove, attachment)
            except OSError as error:
                raise self._cache_fault(attachment, error) from error

    async def _store(self, attachments: Sequence[Attachment]) -> None:
        try:
            await asyncio.to_thread(self._cache.store, attachments)
        except OSError as error:
            raise self._cache_fault(attachments[0], error) from error

    def _cache_fault(self, attachment: Attachment, error: OSError) -> Unavailable:
        return Unavailable(
            f"cannot note in the CNI cache {self.settings.cache_dir} how sandbox {attachment.container_id} "
            f"is attached: {error.strerror}"
        )

    async def _each(self, works: Sequence[Coroutine[object, object, T]]) -> list[T]:
        """Do one thing per network, together or serially as configured; then raise the first error.

        A failure does not cut the others short: a plugin that is stopped half-way leaves more behind.
        """
        turn = asyncio.Semaphore(1 if self.settings.setup_serially else max(1, len(works)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_outcome(work, turn)) for work in works]
        outcomes = [task.result() for task in tasks]
        errors = [outcome for outcome in outcomes if isinstance(outcome, CriError)]
        for error in errors[1:]:
            log.warning("another network failed, too", error=error.message)
        if errors:
            raise errors[0]
        return [outcome for outcome in outcomes if not isinstance(outcome, CriError)]


async def _outcome(work: Coroutine[object, object, T], turn: asyncio.Semaphore) -> T | CriError:
    try:
        async with turn:
            return await work
    except CriError as error:
        return error


def _network_of(attachment: Attachment) -> NetworkList:
    return parse_stored(attachment.config, f"stored configuration of CNI network {attachment.network!r}")


def _usable_namespace(path: Path | str | None) -> str:
    """The path if a namespace is mounted there; after a reboot it is gone, or a plain file."""
    return str(path) if path and is_namespace(Path(path)) else ""
