"""Faults of pod networking that code here tells apart; everything else uses `cri.errors` directly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.errors import DeadlineExceeded, FailedPrecondition, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN_CONTAINER = 3
"""CNI error code: the plugin knows nothing of the container, so that there is nothing to undo."""


class ConfigurationError(FailedPrecondition):
    """A configuration file (or rendered template) cannot be used."""

    def __init__(self, source: Path | str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = str(source)
        self.reason = reason


class PluginFailed(Unavailable):
    """A plugin answered with an error, died, or printed something that is no answer."""

    def __init__(
        self, plugin: str, verb: str, text: str, *, code: int | None = None, details: str = ""
    ) -> None:
        """`code` and `details` as in the plugin's error document; None if it printed none."""
        shown = f"CNI plugin {plugin!r} failed to {verb}: {text}"
        if details:
            shown += f"; {details}"
        if code is not None:
            shown += f" (code {code})"
        super().__init__(shown)
        self.plugin = plugin
        self.verb = verb
        self.text = text
        self.code = code
        self.details = details


class PluginTimedOut(DeadlineExceeded):
    """A plugin did not answer in time and was killed with its process group."""

    def __init__(self, plugin: str, verb: str, seconds: float) -> None:
        super().__init__(
            f"CNI plugin {plugin!r} did not finish {verb} within {seconds:g} s and was killed; "
            f"look at the plugin's own log, or raise the plugin time limit"
        )
        self.plugin = plugin
        self.verb = verb
