"""Which containerd the tests run on: the system's, or one in a folder of its own (E2E_CONTAINERD)."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from e2e.harness.requirements import RequirementError

FETCH = Path(__file__).parent.parent / "containerd.sh"
VERSION = re.compile(r"\d+\.\d+")


def use_containerd(choice: str) -> None:
    """Put the programs of `choice` first in PATH, where containerd, its shims and cri-shim look for them.

    It is a version that `e2e/containerd.sh` knows, a folder with programs (or with `bin` in it), or empty for what
    the system has. Raises RequirementError for anything else.
    """
    if not choice:
        return
    folder = _fetched(choice) if VERSION.fullmatch(choice) else Path(choice)
    programs = folder / "bin" if (folder / "bin").is_dir() else folder
    if not (programs / "containerd").is_file():
        raise RequirementError(f"E2E_CONTAINERD={choice}: there is no containerd in {programs}")
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"


def installed_version() -> tuple[int, int]:
    """Major and minor version of the containerd in use."""
    output = subprocess.run(["containerd", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r" v?(\d+)\.(\d+)\.", output)
    if found is None:
        raise RequirementError(f"containerd --version says {output!r}")
    return int(found[1]), int(found[2])


def _fetched(version: str) -> Path:
    finished = subprocess.run([FETCH, version], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RequirementError(f"{FETCH.name} {version} failed: {finished.stderr.strip()}")
    return Path(finished.stdout.strip())
