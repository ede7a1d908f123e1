"""One call of one CNI plugin: find the program, run it, understand how it ended.

The protocol is section 2 of the CNI specification: parameters in the environment, the configuration on stdin,
a result or an error document on stdout. A plugin may also print garbage, nothing, or too much, die of a
signal, or hang; each of these becomes a PluginFailed or PluginTimedOut that says so. What a plugin is told,
and in which order plugins run, is not decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from cri.concurrency.finishing import finished
from cri.linux.process import Finished, execute
from cri.network.documents import JsonError, JsonObject, decode_object, encode
from cri.network.errors import PluginFailed, PluginTimedOut
from cri.observe.stages import stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from cri.network.settings import NetworkSettings

log = structlog.get_logger(__name__)

OUTPUT_LIMIT = 1 << 20
"""Bytes of stdout and of stderr that are kept; a larger result is refused."""
EXCERPT_CHARACTERS = 500
"""How much of unexpected output is shown in a message."""
BUSY_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between attempts while the program's file is being written (ETXTBSY): an upgrade in progress."""
CONCURRENT_CALLS = 16
"""Plugins running at once, of ADD and of all other verbs each, so that hanging ADDs never hold up a DEL."""

_NOT_PASSED_ON = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The protocol's environment parameters; empty for the verbs that are about no container."""

    container_id: str = ""
    network_namespace: str = ""
    interface: str = ""
    arguments: tuple[tuple[str, str], ...] = ()


class PluginInvoker:
    """Runs plugins from the configured directories."""

    def __init__(
        self, settings: NetworkSettings, observer: Callable[[str, str, float, bool], None] | None
    ) -> None:
        """`observer` is called after each call with (plugin type, verb, seconds, succeeded)."""
        self._bin_dirs = settings.bin_dirs
        self._timeout_seconds = settings.plugin_timeout_seconds
        self._observer = observer
        self._adding = asyncio.Semaphore(CONCURRENT_CALLS)
        self._others = asyncio.Semaphore(CONCURRENT_CALLS)

    async def call(
        self,
        plugin: str,
        verb: str,
        parameters: Parameters,
        config: JsonObject,
        timeout_seconds: float | None = None,
    ) -> bytes:
        """Run `plugin` with `verb` and return what it printed. Raises PluginFailed or PluginTimedOut.

        When time runs out (None: the configured time) or the caller is cancelled, the plugin is killed with
        its process group. But a DEL goes on to its end when the caller is cancelled: half of one cannot be
        repeated, because a plugin such as bridge learns from the interface, which it removes first, which
        firewall rules there are to be removed.
        """
        limit = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        environment = _environment(verb, parameters, self._bin_dirs)
        async with self._turn(verb):
            began = time.monotonic()
            succeeded = False
            try:
                with stage(f"cni:{plugin}"):
                    run = self._execute(plugin, verb, environment, encode(config), limit)
                    ended = await (finished(run, f"CNI DEL {plugin}") if verb == "DEL" else run)
                output = _output(plugin, verb, ended)
                succeeded = True
                return output
            finally:
                if self._observer is not None:
                    self._observer(plugin, verb, time.monotonic() - began, succeeded)

    @contextlib.asynccontextmanager
    async def _turn(self, verb: str) -> AsyncIterator[None]:
        turn = self._adding if verb == "ADD" else self._others
        with stage("cni:queue"):
            await turn.acquire()
        try:
            yield
        finally:
            turn.release()

    async def _execute(
        self, plugin: str, verb: str, environment: Mapping[str, str], stdin: bytes, timeout_seconds: float
    ) -> Finished:
        for pause in (*BUSY_PAUSES, None):
            program = await asyncio.to_thread(find_program, plugin, self._bin_dirs)
            if program is None:
                raise PluginFailed(plugin, verb, missing_program(plugin, self._bin_dirs))
            try:
                return await execute(
                    [str(program)],
                    env=environment,
                    stdin=stdin,
                    timeout_seconds=timeout_seconds,
                    output_limit=OUTPUT_LIMIT,
                )
            except TimeoutError:
                raise PluginTimedOut(plugin, verb, timeout_seconds) from None
            except OSError as error:
                if error.errno != errno.ETXTBSY or pause is None:
                    raise PluginFailed(plugin, verb, f"{program} cannot be run: {error.strerror}") from error
                await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last round returns or raises")


def find_program(plugin: str, bin_dirs: Sequence[Path]) -> Path | None:
    """The first executable file named `plugin` in the plugin directories. Blocking, but only stat calls."""
    for directory in bin_dirs:
        program = directory / plugin
        if program.is_file() and os.access(program, os.X_OK):
            return program
    return None


def missing_program(plugin: str, bin_dirs: Sequence[Path]) -> str:
    """Says that a plugin's program is not there, and where it would have to be."""
    return f"no program {plugin!r} in {', '.join(str(directory) for directory in bin_dirs)}"


def _environment(verb: str, parameters: Parameters, bin_dirs: Sequence[Path]) -> dict[str, str]:
    """The protocol's variables over our own environment: plugins need PATH, some a KUBECONFIG or proxies."""
    inherited = {key: value for key, value in os.environ.items() if key not in _NOT_PASSED_ON}
    return inherited | {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": parameters.container_id,
        "CNI_NETNS": parameters.network_namespace,
        "CNI_IFNAME": parameters.interface,
        "CNI_ARGS": ";".join(f"{name}={value}" for name, value in parameters.arguments),
        "CNI_PATH": os.pathsep.join(str(directory) for directory in bin_dirs),
    }


def _output(plugin: str, verb: str, finished: Finished) -> bytes:
    if finished.status != 0:
        raise _failure(plugin, verb, finished)
    if finished.truncated:
        raise PluginFailed(plugin, verb, f"printed more than {OUTPUT_LIMIT} bytes")
    if finished.stderr:
        log.debug("CNI plugin wrote to stderr", plugin=plugin, verb=verb, text=_excerpt(finished.stderr))
    return finished.stdout


def _failure(plugin: str, verb: str, finished: Finished) -> PluginFailed:
    """The plugin's own error document if it printed one, else whatever it did print."""
    try:
        document = decode_object(finished.stdout)
    except JsonError:
        document = {}
    code, text, details = document.get("code"), document.get("msg"), document.get("details")
    if isinstance(text, str) and text:
        return PluginFailed(
            plugin,
            verb,
            text[:EXCERPT_CHARACTERS],
            code=code if isinstance(code, int) else 0,
            details=details[:EXCERPT_CHARACTERS] if isinstance(details, str) else "",
        )
    how = (
        f"was killed by signal {-finished.status}"
        if finished.status < 0
        else f"ended with status {finished.status} and without an error document"
    )
    printed = _excerpt(finished.stderr) or _excerpt(finished.stdout)
    return PluginFailed(plugin, verb, f"{how}; it printed {printed}" if printed else how)


def _excerpt(output: bytes) -> str:
    text = output[: 4 * EXCERPT_CHARACTERS].decode("utf-8", errors="replace").strip()
    return repr(text if len(text) <= EXCERPT_CHARACTERS else f"{text[:EXCERPT_CHARACTERS]}…") if text else ""
