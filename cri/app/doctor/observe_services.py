"""Asks containerd, runtimes, CNI files, packet filters, listening addresses and registries.

Nothing here raises for a bad answer: what is wrong is a fact.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from api.containerd import errors as containerd_errors
from cri.app.abilities import runtime_binary
from cri.app.config.assembly import network_settings
from cri.app.doctor.facts import (
    CniFacts,
    ContainerdFacts,
    HandlerFacts,
    NetworkFacts,
    PortFacts,
    RegistryFacts,
)
from cri.app.socket import socket_path
from cri.concurrency.together import all_of
from cri.errors import CriError
from cri.image.endpoint import default_endpoint
from cri.image.errors import HostError
from cri.image.hosts import read_hosts
from cri.image.transport import Transport
from cri.linux.process import execute
from cri.network.directory import scan
from cri.observe.address import split_host_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from api.containerd import Client
    from cri.app.config.configuration import Configuration
    from cri.container.handlers import Handler, Handlers
    from cri.image.endpoint import Endpoint
    from cri.network.settings import NetworkSettings

SECONDS = 5.0
REGISTRY_SECONDS = 15.0
ANSWERS_AS_REGISTRY = (200, 401, 403)
"""Status of `GET /v2/` (OCI distribution spec, end-1); 401 and 403 ask for credentials, which only a registry does."""


async def containerd_facts(client: Client) -> ContainerdFacts:
    """Version and plugins, or why they are not known."""
    if not os.access(client.address, os.F_OK):
        return ContainerdFacts(client.address, "no such socket")
    try:
        version = await client.version.get(timeout=SECONDS)
        plugins = await client.introspection.plugins(timeout=SECONDS)
        server = await client.introspection.server(timeout=SECONDS)
    except containerd_errors.ContainerdError as error:
        return ContainerdFacts(client.address, str(error))
    return ContainerdFacts(client.address, "", version.version, tuple(plugins), server.deprecations)


async def handler_facts(handlers: Handlers) -> tuple[HandlerFacts, ...]:
    """The programs behind each runtime handler; features are those that the handlers were found to have."""
    return tuple(await all_of([_handler(handler) for handler in handlers]))


async def _handler(handler: Handler) -> HandlerFacts:
    shim = shim_program(handler.runtime_type)
    binary = runtime_binary(handler)
    path = shutil.which(binary) if binary else None
    return HandlerFacts(
        name=handler.name,
        runtime_type=handler.runtime_type,
        snapshotter=handler.snapshotter,
        shim=shim,
        shim_path=shutil.which(shim),
        binary=binary,
        binary_path=path,
        version=await first_line([path, "--version"]) if path else "",
        recursive_read_only=handler.spec.recursive_read_only_mounts,
        user_namespaces=handler.spec.user_namespaces,
    )


def shim_program(runtime_type: str) -> str:
    """The program that containerd starts for a runtime: io.containerd.NAME.VERSION is containerd-shim-NAME-VERSION."""
    if runtime_type.startswith("/"):
        return runtime_type
    parts = runtime_type.split(".")
    return "containerd-shim-" + "-".join(parts[-2:]) if len(parts) > 1 else runtime_type


async def network_facts(configuration: Configuration, handlers: Handlers) -> NetworkFacts:
    """CNI directories, and the programs for packet filters."""
    settings = network_settings(configuration)
    directories = [settings] + [
        replace(settings, conf_dir=handler.cni_conf_dir, max_conf_num=handler.cni_max_conf_num or 0)
        for handler in handlers
        if handler.cni_conf_dir is not None
    ]
    cni = [await asyncio.to_thread(_cni, each) for each in directories]
    return NetworkFacts(
        cni=tuple(cni),
        iptables=await first_line(["iptables", "--version"]) or None,
        nft=await first_line(["nft", "--version"]) or None,
    )


def _cni(settings: NetworkSettings) -> CniFacts:
    in_use = scan(settings)
    every = scan(replace(settings, max_conf_num=0))
    return CniFacts(
        conf_dir=str(settings.conf_dir),
        bin_dirs=tuple(map(str, settings.bin_dirs)),
        networks={
            network.source: tuple(each.type for each in network.plugins) for network in in_use.networks
        },
        problems=every.problems,
        obstacle=every.obstacle,
    )


async def first_line(command: Sequence[str]) -> str:
    """The first line that a program prints; empty if it is not there or fails."""
    try:
        finished = await execute(command, timeout_seconds=SECONDS)
    except (OSError, TimeoutError):
        return ""
    text = finished.stdout.decode(errors="replace").strip()
    return text.splitlines()[0] if finished.status == 0 and text else ""


def port_facts(configuration: Configuration) -> tuple[PortFacts, ...]:
    """The addresses that the server would listen on; none while a server answers on the socket and holds them."""
    path = socket_path(configuration.grpc.address)
    if _answers(path):
        return ()
    stream = f"{configuration.stream_server_address}:{configuration.stream_server_port}"
    listeners = [
        ("streams", stream, "Set stream_server_port to another port, or to 0 for any that is free."),
        ("metrics", configuration.metrics.address, 'Set address in [metrics] to another port, or to "".'),
    ]
    return tuple(
        PortFacts(purpose, address, _bind_problem(address), f"ss -ltnp shows who listens. {remedy}")
        for purpose, address, remedy in listeners
        if address and not address.startswith("unix:")
    )


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _bind_problem(address: str) -> str:
    try:
        host, port = split_host_port(address)
    except CriError as error:
        return error.message
    if not port:
        return ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return os.strerror(error.errno) if error.errno else str(error)
    return ""


async def registry_facts(configuration: Configuration, hosts: Iterable[str]) -> tuple[RegistryFacts, ...]:
    """Ask registries, and the mirrors that are configured for them, whether they are there."""
    return tuple(await all_of([_registry(configuration.registry.config_path, host) for host in hosts]))


async def _registry(config_path: str, host: str) -> RegistryFacts:
    try:
        configured = await asyncio.to_thread(read_hosts, config_path, host)
    except CriError as error:
        return RegistryFacts(host, error.message)
    problems = []
    async with Transport(REGISTRY_SECONDS) as transport:
        for endpoint in configured or (default_endpoint(host),):
            problem = await _asked(transport, endpoint)
            if not problem:
                return RegistryFacts(host, "")
            problems.append(problem)
    return RegistryFacts(host, "; ".join(problems))


async def _asked(transport: Transport, endpoint: Endpoint) -> str:
    try:
        async with asyncio.timeout(REGISTRY_SECONDS):
            answer = await transport.request(endpoint, "GET", f"{endpoint.url}/", headers={}, private={})
            status = answer.status
            answer.release()
    except (HostError, CriError) as error:
        return str(error)
    except TimeoutError:
        return f"{endpoint.host} did not answer within {REGISTRY_SECONDS:.0f} s"
    return "" if status in ANSWERS_AS_REGISTRY else f"{endpoint.host} answered {status}, not as a registry"
