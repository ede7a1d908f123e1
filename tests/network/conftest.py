"""Fixtures of the pod network tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from scripted_plugins import ScriptedPlugins

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def plugins(tmp_path: Path) -> ScriptedPlugins:
    return ScriptedPlugins(tmp_path)
