"""The command line of what asks a running server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cri.app.live.client import AdminClient
from cri.observe.admin import SOCKET_NAME
from cri.observe.gantt import svg_chart, text_chart

if TYPE_CHECKING:
    from collections.abc import Callable

    from cri.observe.admin import InFlight

LEVELS = ("debug", "info", "warning", "error")


def _server(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which server is asked."""
    for option in (
        click.option(
            "--embedded",
            type=click.Path(path_type=Path, file_okay=False),
            help="Directory of a server that was started with --embedded.",
        ),
        click.option(
            "--state", type=click.Path(path_type=Path, file_okay=False), help="The server's state directory."
        ),
        click.option(
            "--config",
            "path",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The server's configuration file.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@_server
@click.option("-v", "--verbose", is_flag=True, help="With the stack of each operation and stage.")
@click.option("--json", "machine_readable", is_flag=True, help="Print JSON.")
def status(
    path: Path | None,
    state: Path | None,
    embedded: Path | None,
    verbose: bool,  # noqa: FBT001 - click gives options as they are
    machine_readable: bool,  # noqa: FBT001
) -> None:
    """List what the server is doing now: each operation with its object, stage and age."""
    operations = _client(path, state, embedded).operations(stacks=verbose)
    if machine_readable:
        import json

        click.echo(json.dumps(operations, indent=2))
    elif operations:
        for operation in operations:
            click.echo("\n".join(in_flight_lines(operation)))
    else:
        click.echo("nothing is in flight")


@click.command()
@_server
@click.argument("pod")
@click.option(
    "--svg", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw into this file."
)
@click.option("--json", "machine_readable", is_flag=True, help="Print JSON.")
def timeline(
    path: Path | None,
    state: Path | None,
    embedded: Path | None,
    pod: str,
    picture: Path | None,
    machine_readable: bool,  # noqa: FBT001 - click gives options as they are
) -> None:
    """Draw how POD started: NAME, NAMESPACE/NAME, UID or sandbox id."""
    found = _client(path, state, embedded).timeline(pod)
    if picture is not None:
        picture.write_text(svg_chart(found), encoding="utf-8")
    if machine_readable:
        import json

        click.echo(json.dumps(found, indent=2))
    elif picture is None:
        click.echo(text_chart(found), nl=False)


@click.command()
@_server
@click.argument("level", type=click.Choice(LEVELS))
def log_level(path: Path | None, state: Path | None, embedded: Path | None, level: str) -> None:
    """Change what the server logs, until it is started again."""
    _client(path, state, embedded).set_log_level(level)


@click.command()
@_server
def reload(path: Path | None, state: Path | None, embedded: Path | None) -> None:
    """Have the server read its configuration file again: all of it is taken over, or nothing."""
    found = _client(path, state, embedded).reload()
    for change in found:
        note = "  (needs a restart)" if change["needs_restart"] else ""
        click.echo(f"{change['key']}: {change['before']} -> {change['after']}{note}")
    if not found:
        click.echo("nothing is different")


def in_flight_lines(operation: InFlight) -> list[str]:
    """One operation for people: what, which object, how long, in which stage; stacks below where there are."""
    objects = " ".join(f"{key}={value}" for key, value in operation["attributes"].items())
    stages = ", ".join(f"{stage['name']} for {stage['seconds']:.1f}s" for stage in operation["stages"])
    lines = [f"{operation['seconds']:8.1f}s  {operation['operation']} {objects}  in {stages or 'no stage'}"]
    if operation["done"]:
        done = " ".join(f"{name}={seconds:.3f}" for name, seconds in operation["done"].items())
        lines.append(f"{'':10} done: {done}")
    lines += [f"{'':12}{frame}" for frame in operation["stack"]]
    for stage in operation["stages"]:
        if stage["stack"]:
            lines.append(f"{'':10} stage {stage['name']}:")
            lines += [f"{'':12}{frame}" for frame in stage["stack"]]
    return lines


def _client(path: Path | None, state: Path | None, embedded: Path | None) -> AdminClient:
    if state is None and embedded is not None:
        state = embedded / "state"
    if state is None:
        from cri.app.config.load import load

        state = Path(load(path, []).state)
    return AdminClient(state / SOCKET_NAME)
