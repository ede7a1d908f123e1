"""A CRI client and builders for the two messages that every test needs. No knowledge of any server."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from api.wire import criv1

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

MESSAGE_LIMIT = 16 << 20
OWN_PID_NAMESPACE = criv1.NamespaceOption(pid=criv1.CONTAINER)
"""The kubelet always sends this; an empty message would mean the pod's PID namespace."""


@dataclass(frozen=True, slots=True)
class Cri:
    """Both services of one endpoint."""

    runtime: criv1.RuntimeServiceStub
    image: criv1.ImageServiceStub
    endpoint: str


@contextlib.asynccontextmanager
async def connected(endpoint: str) -> AsyncIterator[Cri]:
    """A client of the server at a Unix socket's path; it connects again when the server restarts."""
    options = [
        ("grpc.default_authority", "localhost"),
        ("grpc.max_receive_message_length", MESSAGE_LIMIT),
        ("grpc.max_send_message_length", MESSAGE_LIMIT),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(f"unix:{endpoint}", options=options) as channel:
        yield Cri(criv1.RuntimeServiceStub(channel), criv1.ImageServiceStub(channel), endpoint)


def pod_config(
    name: str,
    *,
    log_directory: str,
    namespace: str = "e2e",
    cgroup_parent: str = "/e2e",
    attempt: int = 0,
    uid: str = "",
    hostname: str | None = None,
    host_network: bool = False,
    privileged: bool = False,
    dns: criv1.DNSConfig | None = None,
    ports: Sequence[criv1.PortMapping] = (),
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    sysctls: Mapping[str, str] | None = None,
    pid: criv1.NamespaceMode.ValueType = criv1.CONTAINER,
    ipc: criv1.NamespaceMode.ValueType = criv1.POD,
) -> criv1.PodSandboxConfig:
    """A pod sandbox's configuration as the kubelet would send it."""
    network = criv1.NODE if host_network else criv1.POD
    return criv1.PodSandboxConfig(
        metadata=criv1.PodSandboxMetadata(
            name=name, uid=uid or str(uuid.uuid4()), namespace=namespace, attempt=attempt
        ),
        hostname="" if host_network else (name if hostname is None else hostname),
        log_directory=log_directory,
        dns_config=dns,
        port_mappings=ports,
        labels=labels or {},
        annotations=annotations or {},
        linux=criv1.LinuxPodSandboxConfig(
            cgroup_parent=cgroup_parent,
            sysctls=sysctls or {},
            security_context=criv1.LinuxSandboxSecurityContext(
                namespace_options=criv1.NamespaceOption(network=network, pid=pid, ipc=ipc),
                privileged=privileged,
            ),
        ),
    )


def container_config(
    name: str,
    image: str,
    *,
    command: Sequence[str] = (),
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    working_dir: str = "",
    attempt: int = 0,
    mounts: Sequence[criv1.Mount] = (),
    devices: Sequence[criv1.Device] = (),
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    stdin: bool = False,
    stdin_once: bool = False,
    tty: bool = False,
    log_path: str | None = None,
    resources: criv1.LinuxContainerResources | None = None,
    security: criv1.LinuxContainerSecurityContext | None = None,
    stop_signal: criv1.Signal.ValueType = criv1.RUNTIME_DEFAULT,
) -> criv1.ContainerConfig:
    """A container's configuration as the kubelet would send it: a PID namespace of its own unless told."""
    context = criv1.LinuxContainerSecurityContext(namespace_options=OWN_PID_NAMESPACE)
    if security is not None:
        if security.HasField("namespace_options"):
            context.ClearField("namespace_options")
        context.MergeFrom(security)
    return criv1.ContainerConfig(
        metadata=criv1.ContainerMetadata(name=name, attempt=attempt),
        image=criv1.ImageSpec(image=image, user_specified_image=image),
        command=command,
        args=args,
        working_dir=working_dir,
        envs=[criv1.KeyValue(key=key, value=value.encode()) for key, value in (env or {}).items()],
        mounts=mounts,
        devices=devices,
        labels=labels or {},
        annotations=annotations or {},
        stdin=stdin,
        stdin_once=stdin_once,
        tty=tty,
        log_path=f"{name}/{attempt}.log" if log_path is None else log_path,
        linux=criv1.LinuxContainerConfig(resources=resources, security_context=context),
        stop_signal=stop_signal,
    )


async def runtime_ready(cri: Cri) -> bool:
    """Whether the server has a containerd that answers."""
    status = (await cri.runtime.Status(criv1.StatusRequest())).status
    return next(item.status for item in status.conditions if item.type == "RuntimeReady")


@contextlib.asynccontextmanager
async def refused(*codes: grpc.StatusCode) -> AsyncIterator[list[grpc.aio.AioRpcError]]:
    """The block must end with an RPC error of one of these codes; the list then holds it for its details."""
    caught: list[grpc.aio.AioRpcError] = []
    try:
        yield caught
    except grpc.aio.AioRpcError as error:
        caught.append(error)
    expected = " or ".join(code.name for code in codes)
    assert caught, f"the call succeeded; {expected} was expected"
    assert caught[0].code() in codes, (
        f"refused with {caught[0].code().name} instead of {expected}: {caught[0].details()}"
    )
