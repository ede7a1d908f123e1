"""The command line of `cri-shim contained`."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from api.containerd import Client, ContainerdError
from cri.app.contained import keeping
from cri.app.contained.log_keeper import retire
from cri.app.contained.specification import (
    CGROUP,
    OPEN_FILES,
    OTHER_DIRECTORIES,
    SHARED_DIRECTORIES,
    log_keeper_cgroup,
    server_specification,
)
from cri.errors import FailedPrecondition, Unavailable
from cri.linux import capabilities
from cri.linux.mounts import mount_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

T = TypeVar("T")

DEFAULT_CONTAINERD: Final = "/run/containerd/containerd.sock"
HOST_PID: Final = 1
"""A process of the host, through which a container with the host's PID namespace sees the host's files."""


def _daemon(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which containerd, and which cgroup in it."""
    for option in (
        click.option(
            "--namespace", default=keeping.NAMESPACE, show_default=True, help="containerd's namespace."
        ),
        click.option("--cgroup", default=CGROUP, show_default=True, help="The server's cgroup."),
        click.option(
            "--containerd", "address", metavar="SOCKET", default=DEFAULT_CONTAINERD, show_default=True
        ),
    ):
        command = option(command)
    return command


@click.group()
def group() -> None:
    """Have containerd keep this server running in a container, where nothing may be installed on the host."""


@group.command(context_settings={"allow_interspersed_args": False})
@click.argument("image")
@click.argument("arguments", metavar="[SERVE OPTION]...", nargs=-1, type=click.UNPROCESSED)
@_daemon
@click.option(
    "--mount", "shared", metavar="DIR", multiple=True, help="Instead of /run and /var/lib; repeatable."
)
@click.option("--bind", "bound", metavar="DIR", multiple=True, help="Something more of the host; repeatable.")
@click.option("--log-file", default="/var/log/cri-shim.log", show_default=True, help="The server's log.")
@click.option("--snapshotter", default="overlayfs", show_default=True)
def install(
    image: str,
    arguments: tuple[str, ...],
    address: str,
    namespace: str,
    cgroup: str,
    shared: tuple[str, ...],
    bound: tuple[str, ...],
    log_file: str,
    snapshotter: str,
) -> None:
    """Run the server from IMAGE, which is in containerd, and have it started again whenever it ends.

    An earlier container is replaced; pods do not notice. Options of `cri-shim serve` go behind IMAGE.
    """
    directories = shared or SHARED_DIRECTORIES
    check_shared(directories)
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    spec = server_specification(
        arguments,
        shared=directories,
        others=[*on_host(OTHER_DIRECTORIES), *bound],
        capabilities=sorted(capabilities.effective()),
        open_files=min(OPEN_FILES, hard_limit),
        cgroup=cgroup,
    )
    wanted = keeping.Wanted(image, spec, log_file, snapshotter)
    _with(address, namespace, lambda client: keeping.install(client, wanted))
    click.echo(f"the server of {image} runs in containerd's namespace {namespace}; its log is {log_file}")


@group.command()
@_daemon
def remove(address: str, namespace: str, cgroup: str) -> None:
    """End the server and remove its container; pods run on.

    The log keeper ends too, unless a container may still write: then it goes on, and a later `remove` ends it.
    """
    there = _with(address, namespace, keeping.remove)
    click.echo("removed" if there else "there is none")
    for remark in asyncio.run(retire(log_keeper_cgroup(cgroup))):
        click.echo(remark)


def on_host(paths: Iterable[str]) -> list[str]:
    """Those of the paths that the host has, as seen through its first process, or here where that is forbidden."""
    root = f"/proc/{HOST_PID}/root"
    prefix = root if os.access(root, os.X_OK) else ""
    return [path for path in paths if os.path.lexists(prefix + path)]


def check_shared(directories: Iterable[str]) -> None:
    """Raise FailedPrecondition unless mounts made below each of these directories of the host spread."""
    for directory in directories:
        if not mount_of(Path(directory), HOST_PID).propagation.sends:
            raise FailedPrecondition(
                f"{directory} of the host is not on a shared mount, so containerd would not see the server's mounts: "
                f"`mount --make-rshared /` (systemd does that at boot)"
            )


def _with(address: str, namespace: str, work: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        async with Client(address, namespace) as client:
            return await work(client)

    try:
        return asyncio.run(run())
    except ContainerdError as error:
        raise Unavailable(f"containerd at {address}: {error}") from error
