"""The default AppArmor profile is loaded once, by the parser, when a container needs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cri.container import apparmor
from cri.container.apparmor import loaded_profiles
from cri.errors import FailedPrecondition
from cri.oci.apparmor import DEFAULT_PROFILE
from tests.node import HOST

WITH_APPARMOR = replace(HOST, apparmor=True)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with what the kernel lists, and a parser that adds to it what it is given."""
    (tmp_path / "profiles").write_text("/usr/bin/man (enforce)\nname with (brackets) (complain)\n")
    monkeypatch.setattr(apparmor, "LOADED", tmp_path / "profiles")
    script = (
        f"sed -n 's/^profile \\([^ ]*\\) .*/\\1 (enforce)/p' >> {tmp_path}/profiles; echo >> {tmp_path}/runs"
    )
    monkeypatch.setattr(apparmor, "PARSER", ("/bin/sh", "-c", script))
    return tmp_path


async def test_names_are_those_of_the_kernel(kernel: Path):
    found = await loaded_profiles(WITH_APPARMOR, with_default=False)
    assert found == {"/usr/bin/man", "name with (brackets)"}


async def test_the_default_profile_is_loaded_once(kernel: Path):
    for _ in range(2):
        assert DEFAULT_PROFILE in await loaded_profiles(WITH_APPARMOR, with_default=True)
    assert (kernel / "runs").read_text() == "\n"


async def test_without_apparmor_nothing_is_loaded(kernel: Path):
    assert await loaded_profiles(HOST, with_default=True) == frozenset()
    assert not (kernel / "runs").exists()


@pytest.mark.parametrize("parser", [("/bin/sh", "-c", "echo bad line 3 >&2; exit 1"), ("/no/such/parser",)])
async def test_a_failure_names_the_way_out(
    kernel: Path, monkeypatch: pytest.MonkeyPatch, parser: tuple[str, ...]
):
    monkeypatch.setattr(apparmor, "PARSER", parser)
    with pytest.raises(FailedPrecondition, match="disable_apparmor"):
        await loaded_profiles(WITH_APPARMOR, with_default=True)
