"""The CRI servers under test, as processes that a test can restart, kill and ask for their log.

Two of them answer the same API: cri-shim, and containerd's own CRI plugin, which tells whether a test is
right and is what the benchmark compares with.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Protocol

import grpc.aio

from api.wire import criv1
from cri.app.embedded import EmbeddedContainerd
from cri.app.embedded_layout import DISABLED_PLUGINS, containerd_configuration
from cri.app.embedded_remains import end_process
from cri.linux.process import processes
from e2e.harness.patience import patiently

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.settings import ServerSettings

START_SECONDS = patiently(30.0)
STOP_SECONDS = patiently(20.0)
PAUSE_SECONDS = patiently(0.05)
"""Between two looks: on a slow machine looking itself takes what is waited for its time."""
SHOWN_LOG_LINES = 60


class CriServer(Protocol):
    """Something that serves CRI on a Unix socket."""

    @property
    def endpoint(self) -> str:
        """The socket's path."""

    @property
    def pid(self) -> int:
        """The process whose memory and processor time are the server's."""

    @property
    def log_file(self) -> Path:
        """Everything the server wrote."""

    @property
    def directories(self) -> tuple[Path, ...]:
        """Where the server keeps files of pods and containers, all of them gone when there are none."""

    async def start(self) -> None:
        """Start the process and wait until it answers."""

    async def stop(self) -> None:
        """Ask it to end and wait."""

    async def kill(self) -> None:
        """End it at once, as a crash would."""


class CriShim:
    """`cri-shim serve` on a containerd, with state and root below `directory`."""

    def __init__(
        self,
        directory: Path,
        containerd: EmbeddedContainerd,
        settings: ServerSettings,
        log_level: str = "debug",
    ) -> None:
        self.endpoint = str(directory / "cri-shim.sock")
        self.log_file = directory / "cri-shim.log"
        self.root, self.state = directory / "root", directory / "state"
        self.directories: tuple[Path, ...] = (self.root, self.state)
        self.configuration_file = directory / "config.toml"
        self.installation: Path | None = None
        """A directory with the packages to run in the place of this checkout's, from the next start on."""
        self._directory = directory
        self._containerd = containerd
        self._settings = settings
        self._log_level = log_level
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self._process is None:
            raise RuntimeError("cri-shim is not running")
        return self._process.pid

    @property
    def command(self) -> tuple[str, ...]:
        """How it is started."""
        return (
            *(sys.executable, "-m", "cri.app.cli", "serve", "--config", str(self.configuration_file)),
            *("--listen", self.endpoint, "--containerd", self._containerd.address),
            *("--root", str(self.root), "--state", str(self.state)),
            *("--cni-conf-dir", self._settings.cni_conf_dir, "--cni-bin-dir", self._settings.cni_bin_dir),
            *("--metrics-address", "127.0.0.1:0", "--log-level", self._log_level),
        )

    def write_configuration(self, tables: str = "", keys: str = "") -> None:
        """Write the configuration file, with further keys at its beginning and further tables at its end.

        It is read at the next start.
        """
        self.configuration_file.parent.mkdir(parents=True, exist_ok=True)
        text = self._settings.server_configuration(self._containerd.address)
        self.configuration_file.write_text(keys + text + tables)

    async def start(self) -> None:
        """Start it unless it runs, and wait until it answers; RuntimeError with the log's end if it does not."""
        if self._process is not None and self._process.returncode is None:
            return
        if not self.configuration_file.exists():
            self.write_configuration()
        with self.log_file.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self._directory if self.installation else None,  # it comes before PYTHONPATH
                env={**os.environ, "PYTHONPATH": str(self.installation)} if self.installation else None,
            )
        await answering(self.endpoint, self._process, self.log_file)

    async def stop(self) -> None:
        """SIGTERM, then wait for an orderly end."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL."""
        await self._end(signal.SIGKILL)

    def log_keepers(self) -> list[int]:
        """The log keeper's process, or none; several while one takes another's place."""
        return [
            pid
            for pid, command in processes()
            if any(str(self.state) in word for word in command) and any("keeper" in word for word in command)
        ]

    async def end_log_keeper(self) -> None:
        """End the log keeper, which outlives the server by design: for the end of a node."""
        for pid in self.log_keepers():
            await end_process(pid, signal.SIGTERM)

    async def _end(self, request: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(request)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise RuntimeError(
                f"cri-shim did not end within {STOP_SECONDS:.0f} s of {request.name}:\n"
                + log_end(self.log_file)
            ) from None


class BuiltInContainerd(EmbeddedContainerd):
    """A private containerd with its own CRI plugin on."""

    def __init__(self, directory: Path, settings: ServerSettings) -> None:
        super().__init__(directory)
        self._settings = settings

    def configuration(self) -> str:
        """The embedded configuration, but with the CRI plugin."""
        disabled = tuple(name for name in DISABLED_PLUGINS if "cri" not in name)
        return containerd_configuration(self.layout, disabled) + self._settings.plugin_tables()


class BuiltInCri:
    """containerd's CRI plugin seen as a server: it lives and dies with its containerd."""

    def __init__(self, containerd: EmbeddedContainerd) -> None:
        self.endpoint = containerd.address
        self.log_file = containerd.layout.log_file
        plugin = "io.containerd.grpc.v1.cri"
        self.directories: tuple[Path, ...] = (
            containerd.layout.root / plugin,
            containerd.layout.state / plugin,
        )
        self._containerd = containerd

    @property
    def pid(self) -> int:
        """containerd's process id."""
        if self._containerd.pid is None:
            raise RuntimeError("containerd is not running")
        return self._containerd.pid

    async def start(self) -> None:
        """Start containerd and wait until the plugin has recovered."""
        if self._containerd.pid is None:
            await self._containerd.start()
        await answering(self.endpoint, None, self.log_file)

    async def stop(self) -> None:
        """SIGTERM to containerd."""
        await self._containerd.stop()

    async def kill(self) -> None:
        """SIGKILL to containerd."""
        await self._containerd.kill()


async def answering(endpoint: str, process: asyncio.subprocess.Process | None, log_file: Path) -> None:
    """Wait until a server answers; RuntimeError with the end of its log if it ends or takes too long."""
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while not await _answers(endpoint):
        if process is not None and process.returncode is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{log_end(log_file)}")
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeError(f"no answer at {endpoint} in {START_SECONDS:.0f} s:\n{log_end(log_file)}")
        await asyncio.sleep(PAUSE_SECONDS)


async def _answers(endpoint: str) -> bool:
    options = [("grpc.default_authority", "localhost")]
    async with grpc.aio.insecure_channel(f"unix:{endpoint}", options=options) as channel:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await criv1.RuntimeServiceStub(channel).Version(criv1.VersionRequest(), timeout=5)
            return True
    return False


def log_end(log_file: Path, lines: int = SHOWN_LOG_LINES) -> str:
    """The last lines of a server's log, for failure messages."""
    try:
        return "\n".join(log_file.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"(no log: {error})"
