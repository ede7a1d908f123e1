"""The command line: names, options, help. What a command does lives in its own module, imported when run."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cri.app.start_up import nothing_is_garbage
from cri.errors import CriError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cri.app.config.configuration import Configuration

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

_ELSEWHERE = {
    "check": (
        "cri.app.housekeeping.commands",
        "check",
        "Compare what server, containerd, kernel and disk say of each pod.",
    ),
    "config": ("cri.app.config.commands", "group", "Print, check and migrate configuration files."),
    "contained": (
        "cri.app.contained.commands",
        "group",
        "Have containerd keep this server running in a container.",
    ),
    "df": ("cri.app.housekeeping.commands", "df", "Show what takes the disk."),
    "doctor": ("cri.app.doctor.commands", "command", "Look at this node and say what pods would miss."),
    "gc": ("cri.app.housekeeping.commands", "gc", "Remove what nobody owns any more."),
    "image": ("cri.app.image.commands", "group", "Pull, list, remove, import and export images."),
    "log-level": ("cri.app.live.commands", "log_level", "Change what a running server logs."),
    "hand-back": ("cri.app.hand_back", "command", "Leave all pods to containerd's own CRI plugin."),
    "reload": (
        "cri.app.live.commands",
        "reload",
        "Have a running server read its configuration again.",
    ),
    "pod": ("cri.app.pod.commands", "group", "Run pods from manifests through the CRI socket."),
    "status": ("cri.app.live.commands", "status", "List what the server is doing now."),
    "timeline": ("cri.app.live.commands", "timeline", "Draw how a pod started."),
}


class LazyGroup(click.Group):
    """A group some of whose commands are imported only when they are called for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, without importing anything."""
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself."""
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = _ELSEWHERE[cmd_name]
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)  # noqa: S101 - the table above is ours
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Help with one line for each command, again without importing."""
        rows = []
        for name in self.list_commands(ctx):
            own = super().get_command(ctx, name)
            rows.append((name, _ELSEWHERE[name][2] if own is None else own.get_short_help_str(80)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's form
    if wanted:
        context.invoke(version)
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def command() -> None:
    """A Kubernetes CRI server on containerd's client API."""


@command.command()
@click.option("--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file.")
@click.option("--listen", metavar="SOCKET", help="Socket to serve on.")
@click.option("--containerd", metavar="SOCKET", help="Socket of containerd.")
@click.option("--root", metavar="DIR", help="Directory for what survives a reboot.")
@click.option("--state", metavar="DIR", help="Directory for what does not.")
@click.option("--cni-conf-dir", metavar="DIR", help="Directory of CNI configurations.")
@click.option("--cni-bin-dir", metavar="DIR", help="Directory of CNI plugins.")
@click.option("--log-keeper-cgroup", metavar="PATH", help="Cgroup of the log keeper, not the server's.")
@click.option("--metrics-address", metavar="ADDRESS", help='Where to serve /metrics; "" for nowhere.')
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.option("--log-format", metavar="FORMAT", help="text or json.")
@click.option(
    "--embedded",
    type=click.Path(path_type=Path, file_okay=False),
    help="Start a private containerd below this directory and keep everything there.",
)
def serve(path: Path | None, embedded: Path | None, **flags: str | None) -> int:
    """Serve CRI until SIGTERM or SIGINT. Flags go over the file, which SIGHUP has read again."""
    with nothing_is_garbage():
        from cri.app.config.load import load
        from cri.app.flags import overrides
        from cri.app.serve import serve as serve_until_stopped
        from cri.observe.logging import set_up_logging

    def read() -> Configuration:
        return load(path, overrides(embedded, flags))

    configuration = read()
    set_up_logging(configuration.debug.level, configuration.debug.format)
    return serve_until_stopped(configuration, read, embedded=embedded)


@command.command()
def version() -> None:
    """Print the version."""
    import platform

    from cri.observe.versions import version_of

    click.echo(f"cri-shim {version_of('cri-shim')} (Python {platform.python_version()})")


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors go to stderr as a message without traceback."""
    try:
        code = command.main(list(arguments), prog_name="cri-shim", standalone_mode=False)
    except click.exceptions.Exit as exited:
        return exited.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except CriError as error:
        for line in error.message.splitlines():
            click.echo(f"cri-shim: {line}", err=True)
        return EXIT_FAILED
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; whatever Python would still say has nobody to hear it
        return EXIT_FAILED
    return code if isinstance(code, int) else 0
