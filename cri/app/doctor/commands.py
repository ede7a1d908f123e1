"""`cri-shim doctor`, and the short form of its findings that `serve` logs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
import structlog

from api.containerd import Client
from cri.app.config.load import Override, load
from cri.app.doctor.finding import Level
from cri.app.doctor.observe import observe
from cri.app.doctor.report import as_json, as_text, findings
from cri.observe.logging import set_up_logging

if TYPE_CHECKING:
    from cri.app.config.configuration import Configuration
    from cri.app.doctor.facts import Facts

log = structlog.get_logger(__name__)

EXIT_BROKEN = 1


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file.")
@click.option("--containerd", metavar="SOCKET", help="Socket of containerd.")
@click.option(
    "--registry", "registries", metavar="HOST", multiple=True, help="Ask this registry, too. Repeatable."
)
@click.option("--json", "machine_readable", is_flag=True, help="Print JSON.")
def command(
    path: Path | None,
    containerd: str | None,
    registries: tuple[str, ...],
    machine_readable: bool,  # noqa: FBT001 - click gives options as they are
) -> int:
    """Look at this node and say what would keep pods from running, and what to do.

    The exit code is 1 if something is broken, 0 if everything works, be it with limits.
    """
    given = (
        [] if containerd is None else [Override(("containerd", "address"), containerd, "flag --containerd")]
    )
    configuration = load(path, given)
    set_up_logging("error", "text")
    facts = asyncio.run(_observe(configuration, registries))
    found = findings(facts)
    click.echo(as_json(facts, found) if machine_readable else as_text(facts, found))
    return EXIT_BROKEN if any(finding.level is Level.BROKEN for finding in found) else 0


async def _observe(configuration: Configuration, registries: tuple[str, ...]) -> Facts:
    section = configuration.containerd
    async with Client(section.address, section.namespace) as client:
        return await observe(configuration, client, registries)


async def log_findings(configuration: Configuration, client: Client) -> None:
    """Log each finding in one line; for a server that is serving already."""
    for finding in findings(await observe(configuration, client)):
        if finding.level is Level.NOTE:
            log.info("doctor", area=finding.area, finding=finding.what)
        else:
            remedy = finding.remedy.splitlines()[0]
            log.warning(
                "doctor", level=finding.level.value, area=finding.area, finding=finding.what, remedy=remedy
            )
