"""Versions of what is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def version_of(distribution: str) -> str:
    """The installed version of a distribution, "0.0.0" when it runs from a tree that was never installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "0.0.0"
