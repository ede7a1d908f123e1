"""The command line of the housekeeping."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from cri.app.flags import overrides
from cri.app.housekeeping import report, work
from cri.app.live.client import AdminClient
from cri.app.socket import socket_path
from cri.errors import FailedPrecondition
from cri.observe.admin import SOCKET_NAME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cri.app.config.configuration import Configuration
    from cri.app.housekeeping.work import CheckValue
    from cri.sandbox.engine import PodEngine
    from cri.sandbox.janitor.rounds import Janitor

T = TypeVar("T")

EXIT_CLEAN = 0
EXIT_FOUND = 1


def _node(command: Callable[..., int]) -> Callable[..., int]:
    """The options that say which node is meant: those of its server."""
    directory = click.Path(path_type=Path, file_okay=False)
    for option in reversed(
        (
            click.option(
                "--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="Its file."
            ),
            click.option(
                "--embedded", type=directory, help="Its directory, if it was started with --embedded."
            ),
            click.option("--listen", metavar="SOCKET", help="Its socket."),
            click.option("--containerd", metavar="SOCKET", help="Socket of containerd."),
            click.option("--root", metavar="DIR", help="Its root directory."),
            click.option("--state", metavar="DIR", help="Its state directory."),
            click.option("--cni-conf-dir", metavar="DIR", help="Directory of CNI configurations."),
            click.option("--cni-bin-dir", metavar="DIR", help="Directory of CNI plugins."),
            click.option("--json", "machine_readable", is_flag=True, help="Print JSON."),
        )
    ):
        command = option(command)
    return command


@click.command()
@_node
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
def gc(
    path: Path | None,
    embedded: Path | None,
    dry_run: bool,  # noqa: FBT001 - click gives options as they are
    machine_readable: bool,  # noqa: FBT001
    **flags: str | None,
) -> int:
    """Remove what nobody owns any more: namespaces, addresses, snapshots, files, mounts, containers.

    The exit code is 1 if something could not be removed.
    """
    configuration = _configuration(path, embedded, flags)
    if dry_run:
        found = _ask(configuration, AdminClient.leftovers, lambda _pods, janitor: work.look(janitor))
    else:
        found = _ask(configuration, AdminClient.collect_garbage, lambda _pods, janitor: work.sweep(janitor))
    click.echo(json.dumps(found, indent=2) if machine_readable else report.leftover_lines(found))
    failed = [each for each in found if each["outcome"] not in ("", "removed")]
    return EXIT_FOUND if failed else EXIT_CLEAN


@click.command()
@_node
def check(
    path: Path | None,
    embedded: Path | None,
    machine_readable: bool,  # noqa: FBT001 - click gives options as they are
    **flags: str | None,
) -> int:
    """Compare what server, containerd, kernel, CNI and disk say of each pod; the exit code is 1 if they disagree."""
    configuration = _configuration(path, embedded, flags)
    found: CheckValue = _ask(configuration, AdminClient.consistency, work.check)
    click.echo(json.dumps(found, indent=2) if machine_readable else report.check_lines(found))
    return EXIT_FOUND if found["problems"] or found["leftovers"] else EXIT_CLEAN


@click.command()
@_node
def df(
    path: Path | None,
    embedded: Path | None,
    machine_readable: bool,  # noqa: FBT001 - click gives options as they are
    **flags: str | None,
) -> int:
    """Show what takes the disk: images, their layers, the containers on top, and what a removal would free."""

    async def disk(pods: PodEngine, _janitor: Janitor) -> dict[str, object]:
        await pods.engine.images.load()
        return await work.disk(pods)

    found = _ask(_configuration(path, embedded, flags), AdminClient.disk, disk)
    click.echo(json.dumps(found, indent=2) if machine_readable else report.disk_lines(found))
    return EXIT_CLEAN


def _configuration(path: Path | None, embedded: Path | None, flags: dict[str, str | None]) -> Configuration:
    from cri.app.config.load import load
    from cri.observe.logging import set_up_logging

    configuration = load(path, overrides(embedded, flags))
    set_up_logging("warning", "text")
    return configuration


def _ask(
    configuration: Configuration,
    of_server: Callable[[AdminClient], T],
    here: Callable[[PodEngine, Janitor], Awaitable[T]],
) -> T:
    """Have a running server do it; without one it is done here."""
    admin = Path(configuration.state) / SOCKET_NAME
    if _answers(admin):
        return of_server(AdminClient(admin))
    if _answers(socket_path(configuration.grpc.address)):
        raise FailedPrecondition(
            f"a server runs at {configuration.grpc.address}, but its admin socket {admin} does not answer: "
            "what it is doing cannot be known, so nothing is touched"
        )
    from cri.app.housekeeping.offline import on_node

    return asyncio.run(on_node(configuration, here))


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
