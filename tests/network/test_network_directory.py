from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from cri.network.configuration import LARGEST_FILE_BYTES
from cri.network.directory import scan

if TYPE_CHECKING:
    from scripted_plugins import ScriptedPlugins


@pytest.fixture(autouse=True)
def bridge(plugins: ScriptedPlugins) -> None:
    plugins.plugin("bridge")


def names(plugins: ScriptedPlugins, **settings: object) -> list[str]:
    return [network.name for network in scan(plugins.settings(**settings)).networks]


def test_the_first_files_by_name_are_taken(plugins: ScriptedPlugins) -> None:
    plugins.network("20-b.conflist", "b", "bridge")
    plugins.network("10-a.conflist", "a", "bridge")
    (plugins.conf_dir / "05-single.conf").write_text('{"name": "single", "type": "bridge"}')
    (plugins.conf_dir / "07-other.json").write_text('{"name": "json", "type": "bridge"}')
    (plugins.conf_dir / "01-readme.txt").write_text("not configuration")
    (plugins.conf_dir / "02-directory.conf").mkdir()
    assert names(plugins) == ["single"]
    assert names(plugins, max_conf_num=3) == ["single", "json", "a"]
    assert names(plugins, max_conf_num=0) == ["single", "json", "a", "b"]


def test_bad_files_are_passed_over_and_named(plugins: ScriptedPlugins) -> None:
    (plugins.conf_dir / "01-empty.conflist").touch()
    os.mkfifo(plugins.conf_dir / "02-fifo.conf")
    (plugins.conf_dir / "03-dangling.conf").symlink_to("nowhere")
    (plugins.conf_dir / "04-big.conf").write_bytes(b" " * (LARGEST_FILE_BYTES + 1))
    plugins.network("05-absent.conflist", "absent", "bridge", "cilium-cni")
    plugins.network("10-a.conflist", "a", "bridge")
    plugins.network("11-again.conflist", "a", "bridge")
    found = scan(plugins.settings(max_conf_num=0))
    assert [network.name for network in found.networks] == ["a"]
    expected = [
        ("01-empty.conflist", "not valid JSON"),
        ("02-fifo.conf", "is not a regular file"),
        ("03-dangling.conf", "No such file"),
        ("04-big.conf", "larger than"),
        ("05-absent.conflist", f"no program 'cilium-cni' in {plugins.bin_dir}"),
        ("11-again.conflist", f"'a' is taken by {plugins.conf_dir / '10-a.conflist'}"),
    ]
    assert len(found.problems) == len(expected), found.problems
    for problem, (file, reason) in zip(found.problems, expected, strict=True):
        assert problem.startswith(f"{plugins.conf_dir / file}: "), problem
        assert reason in problem


def test_what_is_missing_is_said(plugins: ScriptedPlugins) -> None:
    assert "no .conf, .conflist, .json file in" in scan(plugins.settings()).obstacle
    assert "does not exist" in scan(plugins.settings(conf_dir=plugins.root / "absent")).obstacle
    (plugins.root / "file").touch()
    assert "Not a directory" in scan(plugins.settings(conf_dir=plugins.root / "file")).obstacle


def test_a_configuration_mounted_as_a_config_map_is_followed(plugins: ScriptedPlugins) -> None:
    plugins.network("10-a.conflist", "a", "bridge").rename(plugins.root / "real")
    (plugins.conf_dir / "10-a.conflist").symlink_to(plugins.root / "real")
    assert names(plugins) == ["a"]
