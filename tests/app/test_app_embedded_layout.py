"""Paths and configuration of an embedded containerd."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cri.app.embedded_layout import containerd_configuration, embedded_layout
from cri.errors import InvalidArgument


def test_everything_is_below_the_directory() -> None:
    layout = embedded_layout(Path("/srv/pods"))
    document = tomllib.loads(containerd_configuration(layout))
    paths = [document["root"], document["state"], document["grpc"]["address"], document["ttrpc"]["address"]]
    assert all(path.startswith("/srv/pods/") for path in paths)
    assert len(set(paths)) == 4
    assert "io.containerd.grpc.v1.cri" in document["disabled_plugins"]


def test_a_path_with_quotes_is_written_as_toml() -> None:
    layout = embedded_layout(Path('/srv/a "b" \\c'))
    assert tomllib.loads(containerd_configuration(layout))["root"] == '/srv/a "b" \\c/containerd'


def test_a_path_too_long_for_a_socket_is_refused() -> None:
    longest = 107 - len("/containerd.sock.ttrpc")
    embedded_layout(Path("/" + "x" * (longest - 1)))
    with pytest.raises(InvalidArgument, match="too long"):
        embedded_layout(Path("/" + "x" * longest))


def test_relative_directories_are_made_absolute() -> None:
    assert embedded_layout(Path("pods")).directory == Path.cwd() / "pods"


def test_directories_have_different_fingerprints() -> None:
    assert embedded_layout(Path("/srv/a")).fingerprint != embedded_layout(Path("/srv/b")).fingerprint
