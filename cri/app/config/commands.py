"""`cri-shim config`: print the defaults, check a file, print what is in effect, migrate containerd's file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from cri.app.config.load import DEFAULT_PATH, load, read
from cri.app.config.render import render
from cri.errors import FailedPrecondition

FILE = click.Path(path_type=Path, dir_okay=False)
FILE_MODE = 0o600
"""Of a new file: registries' credentials may stand in it; the package's has the same mode."""


@click.group()
def group() -> None:
    """Print, check and migrate configuration files."""


@group.command()
def default() -> None:
    """Print a commented file with every key and its default."""
    click.echo(render(read("", "defaults")), nl=False)


@group.command()
@click.argument("path", metavar="[FILE]", type=FILE, required=False)
def check(path: Path | None) -> None:
    """Check a file: unknown keys, types, ranges, contradictions, files that must exist."""
    load(path)
    if path is None and not DEFAULT_PATH.exists():
        click.echo(f"{DEFAULT_PATH} does not exist; the defaults are in effect")
    else:
        click.echo(f"{path or DEFAULT_PATH}: no problems")


@group.command()
@click.argument("path", metavar="[FILE]", type=FILE, required=False)
@click.option("--running", is_flag=True, help="Ask the running server, whose state directory the file names.")
def show(path: Path | None, running: bool) -> None:  # noqa: FBT001 - click gives options as they are
    """Print the configuration in effect: the file's values over the defaults, without secrets."""
    configuration = load(path)
    if running:
        from cri.app.live.client import AdminClient
        from cri.observe.admin import SOCKET_NAME

        click.echo(AdminClient(Path(configuration.state) / SOCKET_NAME).configuration(), nl=False)
    else:
        click.echo(render(configuration), nl=False)


@group.command()
@click.argument("path", metavar="FILE", type=FILE)
@click.option("-o", "--output", type=FILE, help="Write here rather than to standard output.")
def migrate(path: Path, output: Path | None) -> None:
    """Turn containerd's configuration (version 1, 2 or 3) into ours.

    A comment stands for each key that has no counterpart here.
    """
    from cri.app.config.migrate import migrate_file

    text = migrate_file(path)
    if output is None:
        sys.stdout.write(text)
    else:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            with open(output, "w", opener=lambda path, flags: os.open(path, flags, FILE_MODE)) as file:
                file.write(text)
        except OSError as error:
            raise FailedPrecondition(f"{output} cannot be written: {error.strerror or error}") from error
        click.echo(f"{output}: written; see what `cri-shim config check {output}` says")
