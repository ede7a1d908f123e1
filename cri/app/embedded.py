"""A private containerd below one directory, for `serve --embedded`, the demonstration and end-to-end tests.

Everything it needs is in there: data, sockets, configuration, a CNI network of its own. Entering starts it,
or adopts the one that a killed process left running there, so that pods outlive a crash; leaving ends it with
everything that it started: no process, mount, bridge or firewall rule stays. Images stay for the next time.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Self

import grpc.aio
import structlog
from google.protobuf.empty_pb2 import Empty

from api.wire.containerd.version_pb2_grpc import VersionStub
from cri.app.embedded_layout import EmbeddedLayout, containerd_configuration, embedded_layout
from cri.app.embedded_network import (
    EmbeddedNetwork,
    choose_network,
    host_routes,
    plugin_directories,
    remove_network,
    write_network,
)
from cri.app.embedded_remains import end_process, remove_remains
from cri.concurrency.supervision import shielded
from cri.errors import FailedPrecondition, Unavailable
from cri.linux.process import processes

if TYPE_CHECKING:
    from types import TracebackType

log = structlog.get_logger(__name__)

START_SECONDS = 30.0
STOP_SECONDS = 15.0
CLEANING_SECONDS = 120.0
ANSWER_PAUSE_SECONDS = 0.02
SHOWN_LOG_LINES = 15


class EmbeddedContainerd:
    """`async with EmbeddedContainerd(directory) as embedded:` gives a containerd at `embedded.address`.

    Entering raises FailedPrecondition when a program or CNI plugin is missing or the directory is in use, and
    Unavailable with containerd's last log lines when it does not come up.
    """

    def __init__(self, directory: Path | str, containerd: str = "containerd") -> None:
        self.layout: EmbeddedLayout = embedded_layout(Path(directory))
        self.cni_bin_dirs: tuple[str, ...] = plugin_directories()
        self._program = containerd
        self._process: asyncio.subprocess.Process | None = None
        self._pid: int | None = None
        self._lock: int | None = None
        self._network: EmbeddedNetwork | None = None

    @property
    def address(self) -> str:
        """The socket of containerd's client API."""
        return self.layout.address

    @property
    def cni_conf_dir(self) -> str:
        """The directory with the pod network's configuration list."""
        return str(self.layout.cni_conf_dir)

    @property
    def bridge(self) -> str:
        """The name of the bridge that pods of this instance are on."""
        return self._chosen.bridge

    @property
    def subnet(self) -> str:
        """The IPv4 subnet that pods get their addresses from."""
        return str(self._chosen.subnet)

    @property
    def pid(self) -> int | None:
        """containerd's process id while it runs."""
        return self._pid

    async def __aenter__(self) -> Self:
        self.layout.directory.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            network = choose_network(self.layout, host_routes(f"cri{self.layout.fingerprint}"))
            write_network(self.layout, network)
            self._network = network
            self.layout.configuration_file.write_text(self.configuration())
            await self.start()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    def configuration(self) -> str:
        """The text of containerd's configuration file."""
        return containerd_configuration(self.layout)

    async def start(self) -> None:
        """Start containerd, or adopt the one that runs here, and wait until it answers."""
        self._pid = self._running_pid()
        if self._pid is None:
            await self._spawn()
        await self._answering()
        log.info("embedded containerd answers", address=self.address, pid=self._pid)

    async def stop(self) -> None:
        """End containerd alone; its containers live on, as they do when a node's containerd is restarted."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End containerd without a chance to tidy up, as a crash would."""
        await self._end(signal.SIGKILL)

    async def _leave(self) -> None:
        try:
            await shielded(self._clean(), "remove embedded containerd", CLEANING_SECONDS)
        finally:
            self._release_lock()

    async def _clean(self) -> None:
        await self.stop()
        await remove_remains(self.layout)
        if self._network is not None:
            await remove_network(self.layout, self._network)

    async def _spawn(self) -> None:
        with self.layout.log_file.open("ab") as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    self._program,
                    "--config",
                    str(self.layout.configuration_file),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # a terminal's Ctrl-C is for the server, which then ends this one
                )
            except FileNotFoundError as missing:
                raise FailedPrecondition(
                    f"containerd program {self._program} not found: install it "
                    "(Debian: apt-get install containerd)"
                ) from missing
        self._pid = self._process.pid
        self.layout.pid_file.write_text(f"{self._pid}\n")

    async def _answering(self) -> None:
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while not await self._answers():
            if self._process is not None and self._process.returncode is not None:
                raise Unavailable(
                    f"containerd ended with {self._process.returncode}: {self._last_log_lines()}"
                )
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(
                    f"containerd does not answer at {self.address} within {START_SECONDS:.0f} s: "
                    + self._last_log_lines()
                )
            await asyncio.sleep(ANSWER_PAUSE_SECONDS)

    async def _answers(self) -> bool:
        options = [("grpc.default_authority", "localhost")]
        async with grpc.aio.insecure_channel(f"unix:{self.address}", options=options) as channel:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await VersionStub(channel).Version(Empty(), timeout=2)
                return True
        return False

    async def _end(self, request: signal.Signals) -> None:
        pid, process = self._pid, self._process
        if pid is None:
            return
        if not await end_process(pid, request, STOP_SECONDS):
            log.warning("containerd does not end when asked, killing it", pid=pid)
            await end_process(pid, signal.SIGKILL, STOP_SECONDS)
        if process is not None:
            await process.wait()
        self._pid = self._process = None
        self.layout.pid_file.unlink(missing_ok=True)

    def _running_pid(self) -> int | None:
        """The containerd of an earlier life, if the noted process still is one with our configuration."""
        try:
            noted = int(self.layout.pid_file.read_text())
        except (OSError, ValueError):
            return None
        configuration = str(self.layout.configuration_file)
        return next((pid for pid, command in processes() if pid == noted and configuration in command), None)

    def _last_log_lines(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.layout.log_file.read_text(errors="replace").splitlines()
            return f"{self.layout.log_file} ends with:\n" + "\n".join(lines[-SHOWN_LOG_LINES:])
        return f"nothing in {self.layout.log_file}"

    def _take_lock(self) -> None:
        handle = os.open(self.layout.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            os.close(handle)
            raise FailedPrecondition(
                f"embedded directory {self.layout.directory} is in use by another process: "
                "stop that one or choose another directory"
            ) from held
        self._lock = handle

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def _chosen(self) -> EmbeddedNetwork:
        if self._network is None:
            raise FailedPrecondition("the embedded containerd has not been entered, so it has no network yet")
        return self._network
