"""Prints cri-shim(8) as a man page, from the commands' own help: `manual.py > cri-shim.8`."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import click

from cri.app.commands import command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILES = (
    ("/etc/cri-shim/config.toml", "The configuration; cri-shim config default prints one with every key."),
    ("/run/cri-shim/cri-shim.sock", "The socket for the kubelet and crictl."),
    ("/run/cri-shim", "FIFOs, mounts and the log keeper's socket; not to be emptied while pods run."),
    ("/var/lib/cri-shim", "Files of pods that survive a reboot."),
)
SIGNALS = (
    ("SIGTERM, SIGINT", "Stop serving. Pods and their logs go on."),
    ("SIGUSR1", "Log what every task is doing."),
)


def page() -> Iterator[str]:
    """The lines of the page."""
    yield f'.TH CRI-SHIM 8 "" "cri-shim {version("cri-shim")}" "System administration"'
    yield from _section("NAME", "cri\\-shim \\- a Kubernetes CRI server on containerd's client API")
    yield from _section("SYNOPSIS", ".B cri\\-shim\n.I COMMAND\n[\\fIOPTION\\fR]...")
    yield from _section("DESCRIPTION", _escaped(command.help or ""))
    yield ".SH COMMANDS"
    context = click.Context(command, info_name="cri-shim")
    yield from _commands(command, context)
    yield ".SH FILES"
    yield from _definitions(FILES)
    yield ".SH SIGNALS"
    yield from _definitions(SIGNALS)
    yield from _section("SEE ALSO", ".BR containerd (8),\n.BR crictl (1),\n.BR systemctl (1)")


def _commands(group: click.Group, parent: click.Context) -> Iterator[str]:
    for name in group.list_commands(parent):
        found = group.get_command(parent, name)
        assert found is not None, name
        context = click.Context(found, info_name=name, parent=parent)
        if isinstance(found, click.Group):
            yield from _commands(found, context)
            continue
        usage = " ".join(found.collect_usage_pieces(context))
        yield f".SS {_escaped(context.command_path.removeprefix('cri-shim '))} {_escaped(usage)}"
        yield _escaped(found.help or "")
        for parameter in found.params:
            record = parameter.get_help_record(context)
            if isinstance(parameter, click.Option) and record is not None:
                yield from _definitions([record])


def _section(title: str, text: str) -> Iterator[str]:
    yield f".SH {title}"
    yield text


def _definitions(items: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in items:
        yield ".TP"
        yield f".B {_escaped(term)}"
        yield _escaped(text)


def _escaped(text: str) -> str:
    lines = (line.strip() for line in text.replace("\\", "\\\\").replace("-", "\\-").splitlines())
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line or ".PP" for line in lines)


if __name__ == "__main__":
    sys.stdout.write("\n".join(page()) + "\n")
