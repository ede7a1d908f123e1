"""The command line of `cri-shim pod`."""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from api.wire import criv1 as cri
from cri.app.pod.listing import HEADINGS, pod_rows, table
from cri.app.pod.logs import print_log
from cri.app.pod.manifest import read_manifest
from cri.app.pod.node import CALL_SECONDS, DEFAULT_ENDPOINT, ENDPOINT_VARIABLE, Node, connect, container_named
from cri.app.pod.remove import remove_pod
from cri.app.pod.run import run_pod
from cri.app.pod.steps import Steps
from cri.app.pod.stream_commands import attach_to, exec_interactively, forward_to
from cri.errors import InvalidArgument
from cri.observe.logging import set_up_logging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

DEFAULT_DIRECTORY = Path("/run/cri-shim-pods")

_endpoint = click.option(
    "--endpoint",
    metavar="SOCKET",
    help=f"The CRI server; default {DEFAULT_ENDPOINT} or ${ENDPOINT_VARIABLE}.",
)
_namespace = click.option(
    "-n", "--namespace", default="default", show_default=True, help="The pod's namespace."
)
_stdin = click.option("-i", "--stdin", is_flag=True, help="Hand over standard input.")
_terminal = click.option("-t", "--tty", is_flag=True, help="Through a terminal, with the size of this one.")
_container = click.option("-c", "--container", metavar="NAME", help="Which container, if there are several.")


@click.group()
def group() -> None:
    """Run pods from Kubernetes manifests through the CRI socket. Nothing is restarted or probed."""
    set_up_logging("warning", "text")


@group.command()
@click.argument("manifest", type=click.Path(dir_okay=False, allow_dash=True))
@_endpoint
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Where log files and emptyDir volumes are kept.",
)
@click.option("--keep", is_flag=True, help="Leave what was made if a step fails, to look at.")
def run(manifest: str, endpoint: str | None, directory: Path, keep: bool) -> None:  # noqa: FBT001
    """Run the pod of MANIFEST (YAML or JSON, - for standard input), showing each step with its time."""
    pod = read_manifest(_read(manifest), str(uuid.uuid4()), directory.absolute())
    steps = Steps(sys.stdout)

    async def work(node: Node) -> None:
        sandbox_id = await run_pod(node, pod, steps, keep=keep)
        addresses = await node.pod_addresses(sandbox_id)
        steps.say(
            f"pod {pod.namespace}/{pod.name} runs" + (f" at {' '.join(addresses)}" if addresses else "")
        )

    _with_node(endpoint, work)


@group.command()
@_endpoint
def ls(endpoint: str | None) -> None:
    """List pods with their containers."""
    rows = _with_node(endpoint, pod_rows)
    click.echo(table([HEADINGS, *rows]))


@group.command()
@click.argument("pod")
@_endpoint
@_namespace
@_container
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends.")
@click.option("--tail", type=click.IntRange(min=0), metavar="LINES", help="Begin with the last lines.")
def logs(
    pod: str,
    endpoint: str | None,
    namespace: str,
    container: str | None,
    follow: bool,  # noqa: FBT001
    tail: int | None,
) -> None:
    """Print a container's log; POD is a name or the beginning of a sandbox id."""

    async def work(node: Node) -> None:
        chosen = await _choose(node, pod, namespace, container)
        await print_log(node, chosen, sys.stdout.buffer, sys.stderr.buffer, follow=follow, tail=tail)

    _with_node(endpoint, work)


@group.command()
@click.argument("pod")
@click.argument("command", nargs=-1, required=True)
@_endpoint
@_namespace
@_container
@_stdin
@_terminal
@click.option(
    "--timeout", type=click.IntRange(min=0), default=0, help="Seconds the command may take; 0 is any."
)
def exec(  # noqa: A001 - the command's name
    pod: str,
    command: tuple[str, ...],
    endpoint: str | None,
    namespace: str,
    container: str | None,
    stdin: bool,  # noqa: FBT001
    tty: bool,  # noqa: FBT001
    timeout: int,
) -> int:
    """Run COMMAND (after --) in a container, print what it writes, and end with its exit code."""
    if stdin or tty:
        if timeout:
            raise InvalidArgument("--timeout is for commands without -i and -t, which end by themselves")

        async def interact(node: Node) -> int:
            chosen = await _choose(node, pod, namespace, container)
            return await exec_interactively(node, chosen, command, stdin=stdin, terminal=tty)

        return _with_node(endpoint, interact)

    async def work(node: Node) -> cri.ExecSyncResponse:
        chosen = await _choose(node, pod, namespace, container)
        request = cri.ExecSyncRequest(container_id=chosen, cmd=command, timeout=timeout)
        return await node.call(
            node.client.runtime.ExecSync, request, CALL_SECONDS + timeout if timeout else None
        )

    answer = _with_node(endpoint, work)
    sys.stdout.buffer.write(answer.stdout)
    sys.stdout.buffer.flush()
    sys.stderr.buffer.write(answer.stderr)
    sys.stderr.buffer.flush()
    return answer.exit_code


@group.command()
@click.argument("pod")
@_endpoint
@_namespace
@_container
@_stdin
@_terminal
def attach(
    pod: str,
    endpoint: str | None,
    namespace: str,
    container: str | None,
    stdin: bool,  # noqa: FBT001
    tty: bool,  # noqa: FBT001
) -> int:
    """Show what a container writes from now on; with -i and -t, take part."""

    async def work(node: Node) -> int:
        chosen = await _choose(node, pod, namespace, container)
        return await attach_to(node, chosen, stdin=stdin, terminal=tty)

    return _with_node(endpoint, work)


@group.command("port-forward")
@click.argument("pod")
@click.argument("ports", metavar="[LOCAL:]REMOTE...", nargs=-1, required=True)
@_endpoint
@_namespace
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
def port_forward(
    pod: str, ports: tuple[str, ...], endpoint: str | None, namespace: str, address: str
) -> None:
    """Forward local ports to ports of a pod until interrupted; without LOCAL the same one, 0 takes a free one."""

    async def work(node: Node) -> None:
        await forward_to(node, (await node.find_pod(pod, namespace)).id, address, ports)

    _with_node(endpoint, work)


@group.command()
@click.argument("pods", metavar="POD...", nargs=-1)
@_endpoint
@_namespace
@click.option("--all", "everything", is_flag=True, help="Every pod on the server.")
@click.option(
    "--grace", type=click.IntRange(min=0), metavar="SECONDS", help="In the place of the manifest's."
)
def rm(
    pods: tuple[str, ...],
    endpoint: str | None,
    namespace: str,
    everything: bool,  # noqa: FBT001
    grace: int | None,
) -> None:
    """Stop and remove pods, with their log files and volumes."""
    if bool(pods) == everything:
        raise InvalidArgument("name the pods to remove, or give --all")
    steps = Steps(sys.stdout)

    async def work(node: Node) -> None:
        chosen = await node.pods({}) if everything else [await node.find_pod(pod, namespace) for pod in pods]
        for pod in chosen:
            async with steps.step(f"remove {pod.metadata.namespace}/{pod.metadata.name}"):
                await remove_pod(node, pod, grace)

    _with_node(endpoint, work)


def _with_node(endpoint: str | None, work: Callable[[Node], Awaitable[T]]) -> T:
    async def connected() -> T:
        async with connect(endpoint) as node:
            return await work(node)

    return asyncio.run(connected())


async def _choose(node: Node, pod: str, namespace: str, container: str | None) -> str:
    found = await node.find_pod(pod, namespace)
    return container_named(await node.containers(found.id), container).id


def _read(manifest: str) -> str:
    try:
        with click.open_file(manifest) as stream:
            return str(stream.read())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{manifest}: {error}") from error
