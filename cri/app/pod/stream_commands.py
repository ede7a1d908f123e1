"""What the streaming commands of `cri-shim pod` do: exec with -i and -t, attach, port-forward."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from api.wire import criv1 as cri
from cri.app.pod.port_forward import forward_ports, parse_forward
from cri.app.pod.remote_command import run_remote_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cri.app.pod.node import Node


async def exec_interactively(
    node: Node, container_id: str, command: Sequence[str], *, stdin: bool, terminal: bool
) -> int:
    """Run a command with this program's streams; its exit code."""
    request = cri.ExecRequest(
        container_id=container_id, cmd=command, stdin=stdin, stdout=True, stderr=not terminal, tty=terminal
    )
    answer = await node.call(node.client.runtime.Exec, request)
    return await run_remote_command(answer.url, stdin=stdin, terminal=terminal)


async def attach_to(node: Node, container_id: str, *, stdin: bool, terminal: bool) -> int:
    """Show a container's output from now on, and hand it this program's input; 0 when the container ends."""
    request = cri.AttachRequest(
        container_id=container_id, stdin=stdin, stdout=True, stderr=not terminal, tty=terminal
    )
    answer = await node.call(node.client.runtime.Attach, request)
    return await run_remote_command(answer.url, stdin=stdin, terminal=terminal)


async def forward_to(node: Node, sandbox_id: str, address: str, ports: Sequence[str]) -> None:
    """Forward local ports to a pod's until interrupted."""
    forwards = [parse_forward(port) for port in ports]
    request = cri.PortForwardRequest(pod_sandbox_id=sandbox_id)
    answer = await node.call(node.client.runtime.PortForward, request)
    try:
        await forward_ports(answer.url, address, forwards, click.echo)
    except asyncio.CancelledError:
        click.echo("interrupted")
