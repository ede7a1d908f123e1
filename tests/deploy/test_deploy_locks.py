"""The locks say what pyproject.toml asks for: every package, in a version that will do, with hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUN = PROJECT["dependencies"]
DEV = [*RUN, *PROJECT["optional-dependencies"]["dev"], *PROJECT["optional-dependencies"]["tracing"]]
ENTRY = re.compile(
    r"^([\w.-]+)==(\S+)([^\n]*)\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)*)", re.MULTILINE
)


def locked(name: str) -> dict[str, str]:
    """Versions by package. Whatever is not an entry with hashes fails here."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    found = {}
    for package, version, _, hashes in ENTRY.findall(text):
        assert hashes, f"{package} has no hash"
        found[canonicalize_name(package)] = version
    rest = [line for line in ENTRY.sub("", text).splitlines() if line and not line.lstrip().startswith("#")]
    assert not rest, f"neither packages nor hashes: {rest}"
    return found


@pytest.mark.parametrize(("lock", "asked"), [("run", RUN), ("dev", DEV)])
def test_what_is_asked_for_is_locked(lock: str, asked: list[str]):
    versions = locked(lock)
    for text in asked:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{text} is not in {lock}.lock; run `make lock`"
        assert requirement.specifier.contains(versions[name]), (
            f"{lock}.lock has {name} {versions[name]}, not {text}"
        )


def test_development_is_on_what_is_shipped():
    run, dev = locked("run"), locked("dev")
    assert run.items() <= dev.items(), "run `make lock`"


def test_the_locks_name_no_place():
    for lock in ("run", "dev"):
        text = (ROOT / "requirements" / f"{lock}.lock").read_text()
        assert "://" not in text
        assert "--index" not in text
