"""The server's life in three phases: start up, serve until a signal, shut down.

Start-up opens the socket only when the node's pods are known, or when containerd has been away for a few
seconds: then Status says so and everything else is refused as Unavailable until it returns. All endless tasks
are started in one place, `_start_tasks`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import structlog

from api.containerd import Client
from api.containerd import errors as containerd_errors
from cri.app.abilities import with_abilities
from cri.app.builtin_plugin import demand_absence
from cri.app.config.assembly import node_paths, service_settings
from cri.app.embedded import EmbeddedContainerd
from cri.app.handlers import build_handlers
from cri.app.host import detect_host
from cri.app.housekeeping.routes import routes as housekeeping_routes
from cri.app.node import Assembly, assemble
from cri.app.observation import (
    call_observer,
    interceptors,
    metrics_certificate,
    traced,
    watch_logs,
    watch_operations,
)
from cri.app.reloading import Reloading
from cri.app.reloading import routes as reloading_routes
from cri.app.signals import signals_heard
from cri.app.socket import remove_stale_socket, socket_path
from cri.app.watchdog import keep_alive
from cri.concurrency.supervision import Supervisor
from cri.concurrency.together import all_of, together
from cri.errors import CriError
from cri.linux.core_dumps import forbid_core_dumps
from cri.linux.service_manager import READY, STOPPING, tell, watchdog_seconds
from cri.observe.admin import SOCKET_NAME, run_admin
from cri.observe.exposition import serve_metrics
from cri.observe.loop_lag import watch_loop_lag
from cri.observe.metrics import Metrics
from cri.oci.oom_score import unexpectedly_limited
from cri.sandbox.remove import remove_sandbox
from cri.services.server import cri_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import grpc.aio

    from cri.app.config.configuration import Configuration
    from cri.app.config.schema import GrpcSection
    from cri.app.signals import Wishes

log = structlog.get_logger(__name__)

RECOVERY_SECONDS = 5.0
"""How long the socket stays closed while containerd does not answer."""
DRAIN_SECONDS = 10.0
"""How long running RPCs may go on after the signal to stop."""
RELEASE_SECONDS = 2.0


def serve(
    configuration: Configuration, read_again: Callable[[], Configuration], embedded: Path | None = None
) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises CriError when the server cannot start.

    `read_again` gives the configuration as it is at SIGHUP.
    """
    forbid_core_dumps()
    if sys.version_info < (3, 12):
        # One pidfd a child instead of one thread a child; later versions choose it by themselves.
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    return asyncio.run(_serve(configuration, read_again, embedded))


async def _serve(
    configuration: Configuration, read_again: Callable[[], Configuration], embedded: Path | None
) -> int:
    with signals_heard() as wishes:
        if embedded is None:
            await _run(configuration, read_again, wishes)
            return 0
        async with EmbeddedContainerd(embedded) as containerd:
            log.info("private containerd", address=containerd.address, bridge=containerd.bridge)
            await _run(configuration, read_again, wishes, leave_nothing=True)
    return 0


async def _run(
    configuration: Configuration,
    read_again: Callable[[], Configuration],
    wishes: Wishes,
    *,
    leave_nothing: bool = False,
) -> None:
    metrics = Metrics()
    for directory in node_paths(configuration).standing:
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True, mode=0o700)
    path = socket_path(configuration.grpc.address)
    await asyncio.to_thread(remove_stale_socket, path)
    async with (
        traced(configuration.tracing) as tracing,
        Client(
            configuration.containerd.address,
            configuration.containerd.namespace,
            observer=call_observer(metrics, tracing),
        ) as client,
        Supervisor(metrics.task_death, expected=(containerd_errors.ContainerdError, CriError)) as supervisor,
    ):
        if not configuration.containerd.allow_builtin_cri:
            await demand_absence(client)
        host = await asyncio.to_thread(detect_host)
        handlers, release = await together(
            with_abilities(build_handlers(configuration), client, host), _release(client)
        )
        assembly = assemble(configuration, client, metrics, supervisor, release, handlers, host)
        reloading = Reloading(read_again, assembly, supervisor, watch_operations(assembly, metrics))
        _warn_of_limits(assembly)
        await assembly.keeper.start()
        await assembly.on.streams.start()
        _start_tasks(assembly, supervisor, metrics, reloading)
        await _known(assembly)
        server = cri_server(assembly.on, service_settings(configuration), interceptors(metrics, tracing))
        health = _health(configuration, assembly)
        certificate = await metrics_certificate(configuration.metrics)
        async with serve_metrics(configuration.metrics.address, metrics, health, certificate):
            await _listen(server, path, configuration.grpc)
            supervisor.start("doctor", _examine(configuration, client))
            log.info("serving", socket=str(path), sandboxes=len(assembly.on.engine.node.sandboxes))
            tell(READY)
            if (patience := watchdog_seconds()) is not None:
                supervisor.keep("watchdog", lambda: keep_alive(path, patience))
            supervisor.keep("reloading", lambda: reloading.run(wishes.reload))
            await wishes.stop.wait()
            log.info("stopping")
            tell(STOPPING)
            assembly.on.events.close()
            await server.stop(DRAIN_SECONDS)
        path.unlink(missing_ok=True)
        if leave_nothing:
            await _remove_everything(assembly)
        await supervisor.close()  # first who uses the log keeper, then the connection to it
        if leave_nothing:
            await assembly.keeper.shutdown()
        else:
            await assembly.keeper.close()


async def _examine(configuration: Configuration, client: Client) -> None:
    """Log what the doctor finds. Its modules are read only now, beside the loop: the kubelet waits until we serve."""

    def log_findings() -> Callable[[Configuration, Client], Awaitable[None]]:
        from cri.app.doctor.commands import log_findings

        return log_findings

    await (await asyncio.to_thread(log_findings))(configuration, client)


def _start_tasks(assembly: Assembly, supervisor: Supervisor, metrics: Metrics, reloading: Reloading) -> None:
    """Every task that runs as long as the server."""
    supervisor.keep("events", lambda: _follow_containerd(assembly))
    supervisor.keep("log keeper", assembly.keeper.run)
    supervisor.keep("streams", assembly.on.streams.run)
    supervisor.keep("stats", assembly.on.stats.run)
    supervisor.keep("CDI devices", assembly.on.engine.cdi.run)
    supervisor.keep("loop lag", lambda: watch_loop_lag(metrics.loop_lag))
    supervisor.keep("log totals", lambda: watch_logs(assembly.keeper, metrics))
    supervisor.keep(
        "admin socket",
        lambda: run_admin(
            assembly.on.engine.paths.state / SOCKET_NAME,
            assembly.on.timelines,
            (
                *housekeeping_routes(assembly.on.pods, assembly.janitor),
                *reloading_routes(reloading, assembly),
            ),
        ),
    )
    supervisor.keep("janitor", assembly.janitor.run)
    reloading.watch_networks()


async def _follow_containerd(assembly: Assembly) -> None:
    """Follow events; a containerd that came back with a CRI server of its own is not followed."""
    if not assembly.configuration.containerd.allow_builtin_cri:
        await demand_absence(assembly.client)
    await assembly.on.observer.run()


async def _known(assembly: Assembly) -> None:
    """Wait until networks are read and pods are known, or until it is clear that containerd is away."""
    for network in assembly.networks:
        await network.load()
    try:
        await asyncio.wait_for(assembly.on.observer.connected.wait(), RECOVERY_SECONDS)
    except TimeoutError:
        log.warning("containerd does not answer, serving without it for now", address=assembly.client.address)


def _health(configuration: Configuration, assembly: Assembly) -> Callable[[], str | None]:
    """Answers what /healthz says: the server is well when containerd is."""

    def problem() -> str | None:
        if assembly.on.observer.connected.is_set():
            return None
        return f"containerd at {configuration.containerd.address} does not answer"

    return problem


async def _release(client: Client) -> str:
    """containerd's version, empty while it is away (Version then answers 0.0.0, which kubelet accepts)."""
    try:
        return (await client.version.get(timeout=RELEASE_SECONDS)).version
    except containerd_errors.ContainerdError as error:
        log.warning("containerd did not tell its version", error=str(error))
        return ""


async def _listen(server: grpc.aio.Server, path: Path, section: GrpcSection) -> None:
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True, mode=0o755)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    await asyncio.to_thread(os.chown, path, section.uid, section.gid)
    await asyncio.to_thread(path.chmod, int(section.mode, 8))


def _warn_of_limits(assembly: Assembly) -> None:
    engine = assembly.on.engine
    if unexpectedly_limited(engine.host, engine.oci):
        log.warning(
            "CAP_SYS_RESOURCE is missing: oom_score_adj below this process's own is raised to it",
            own=engine.host.own_oom_score_adj,
        )


async def _remove_everything(assembly: Assembly) -> None:
    """Remove all pods in good order, so that the private containerd leaves nothing behind."""
    pods = assembly.on.pods
    try:
        await all_of([remove_sandbox(pods, sandbox) for sandbox in pods.engine.node.sandboxes])
    except Exception:
        log.exception("a pod could not be removed")
