"""The documentation says what is so: commands exist, links lead somewhere, the reference is the code's."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import click
import pytest

from cri.app.builtin_plugin import DISABLED
from cri.app.commands import command
from cri.app.config.load import load
from cri.app.config.reference import reference
from cri.observe.reference import reference as metrics_reference

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
PATHS = re.compile(r"`((?:deploy|e2e|cri|tests|protos)/[\w./-]+\.\w+)`")


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.name, content)
        for page in PAGES
        for _, found, content in BLOCK.findall(page.read_text())
        if found == language
    ]


def our_commands() -> list[tuple[str, str]]:
    lines = [(page, line.strip()) for page, block in blocks("sh") for line in block.splitlines()]
    return [(page, line) for page, line in lines if line.startswith("cri-shim ")]


@pytest.mark.parametrize(("page", "line"), our_commands())
def test_commands_take_the_options_that_are_shown(page: str, line: str) -> None:
    words = shlex.split(line.split(" > ")[0], comments=True)[1:]
    found: click.Command = command
    context = click.Context(command, info_name="cri-shim")
    while isinstance(found, click.Group) and words:
        name, *words = words
        below = found.get_command(context, name)
        assert below is not None, f"{page}: there is no {line!r}"
        found = below
    try:
        found.make_context("cri-shim", words, parent=context)
    except click.exceptions.Exit:
        pass  # --help


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for path in PATHS.findall(text):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


@pytest.mark.parametrize(("page", "text"), blocks("toml"))
def test_toml_can_be_read(page: str, text: str) -> None:
    assert tomllib.loads(text), page


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name for _, block in blocks("sh") for name in re.findall(r"^ *make ([a-z0-9-]+)", block, re.MULTILINE)
    }
    assert named <= targets


def test_the_reference_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == reference(), "run `make docs`"
    assert (ROOT / "docs" / "metrics.md").read_text() == metrics_reference(), "run `make docs`"


def test_the_lines_that_disable_the_plugin_are_everywhere_the_same() -> None:
    for path in ("docs/installing.md", "deploy/containerd/config.toml"):
        assert DISABLED in (ROOT / path).read_text(), path


def test_the_drawing_is_well_formed() -> None:
    ET.parse(ROOT / "docs" / "architecture.svg")


def test_the_unit_spares_the_log_keeper_and_has_no_mount_namespace() -> None:
    unit = (ROOT / "deploy" / "systemd" / "cri-shim.service").read_text()
    keys = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    assert keys["KillMode"] == "process"
    assert keys["Type"] == "notify"
    private = {
        "PrivateTmp",
        "PrivateMounts",
        "ProtectSystem",
        "ProtectHome",
        "ReadOnlyPaths",
        "PrivateDevices",
    }
    assert not private & keys.keys()


def test_the_default_configuration_of_the_package_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main(["config", "default"], standalone_mode=False)
    file = tmp_path / "config.toml"
    file.write_text(capsys.readouterr().out)
    assert load(file) == load(None) if not Path("/etc/cri-shim/config.toml").exists() else load(file)
