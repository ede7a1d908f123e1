"""What `make run` shows: a server on a private containerd, one pod from a manifest, and how to go on from there.

    python -m cri.app.demonstration MANIFEST [DIRECTORY]

Everything goes through the same commands and the CRI socket that a user has: `cri-shim serve --embedded` and
`cri-shim pod`. Where no registry can be reached, the images are built from what is on this host. A signal ends it,
and nothing is left: no process, mount, network namespace or bridge, and without DIRECTORY no file either.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from api.cri import CriClient, CriError
from api.wire import criv1
from cri.app.built_image import layout_archive
from cri.app.config.configuration import Configuration
from cri.app.embedded_layout import embedded_layout
from cri.app.host_images import busybox_image, pause_image
from cri.app.pod.manifest import read_manifest
from cri.app.pod.steps import Steps
from cri.errors import CriError as Problem
from cri.errors import Unavailable

if TYPE_CHECKING:
    from cri.app.built_image import Image
    from cri.app.pod.plan import PodPlan

START_SECONDS = 30.0
STOP_SECONDS = 60.0
REGISTRY_PROBE = "https://registry-1.docker.io/v2/"
REGISTRY_PROBE_SECONDS = 3.0
ANSWER_SECONDS = 15.0
PAUSE_SECONDS = 0.05
WEB_PORT = 8080
"""Where pod.yaml's web server listens."""
METRICS_PORT = 1338
SHOWN_LOG_LINES = 5


@dataclass(frozen=True, slots=True)
class Stage:
    """The place where the demonstration is given."""

    directory: Path
    manifest: Path
    steps: Steps
    metrics_address: str

    @property
    def endpoint(self) -> str:
        """The CRI socket."""
        return str(self.directory / "cri-shim.sock")

    @property
    def server_log(self) -> Path:
        """What the server writes."""
        return self.directory / "cri-shim.log"


def main() -> int:
    """Give the demonstration; 0 unless a step fails."""
    parser = argparse.ArgumentParser(prog="deploy/examples/run.sh")
    parser.add_argument("manifest", type=Path)
    parser.add_argument(
        "directory", type=Path, nargs="?", help="kept afterwards; a temporary one if not given"
    )
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="cri-shim-"))
    try:
        return asyncio.run(
            _give(Stage(directory.absolute(), options.manifest, Steps(sys.stdout), _metrics_address()))
        )
    except Problem as problem:
        print(f"cri-shim: {problem.message}", file=sys.stderr)
        return 1
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)


async def _give(stage: Stage) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    server = await _start_server(stage)
    try:
        show = loop.create_task(_show(stage, server), name="demonstration")
        stopped = loop.create_task(stopping.wait(), name="signal")
        await asyncio.wait({show, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if show.done():
            show.result()
            ended = loop.create_task(server.wait(), name="server's end")
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
        show.cancel()
        stopped.cancel()
        if server.returncode is not None:
            raise Unavailable(f"the server ended with {server.returncode}; {_log_end(stage)}")
    finally:
        await _stop_server(stage, server)
    return 0


async def _show(stage: Stage, server: asyncio.subprocess.Process) -> None:
    steps = stage.steps
    async with CriClient(stage.endpoint) as client:
        async with steps.step("server answers on its CRI socket") as step:
            step.result = await _answer(stage, client, server)
        if not await _registry_reachable():
            await _import_images(stage)
        steps.say()
        await _run("pod", "run", str(stage.manifest), "--endpoint", stage.endpoint, *_pod_directory(stage))
        pod = read_manifest(stage.manifest.read_text(), "", stage.directory)
        steps.say()
        await _request(stage, await _pod_address(client, pod))
    steps.say("\nthe client's log, from the file that the kubelet would read:")
    last = ("--tail", str(SHOWN_LOG_LINES))
    await _run("pod", "logs", pod.name, "--container", "client", *last, "--endpoint", stage.endpoint)
    steps.say(_parting_words(stage))


async def _start_server(stage: Stage) -> asyncio.subprocess.Process:
    stage.directory.mkdir(parents=True, exist_ok=True)
    with stage.server_log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *_command(
                "serve", "--embedded", str(stage.directory), "--metrics-address", stage.metrics_address
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for this program, which then ends the server
        )


async def _stop_server(stage: Stage, server: asyncio.subprocess.Process) -> None:
    if server.returncode is not None:
        return
    stage.steps.say()
    async with stage.steps.step("stop: pods, server, containerd, network"):
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        try:
            await asyncio.wait_for(server.wait(), STOP_SECONDS)
        except TimeoutError:
            server.kill()
            await server.wait()
            raise Unavailable(f"the server did not end in {STOP_SECONDS:.0f} s; {_log_end(stage)}") from None


async def _answer(stage: Stage, client: CriClient, server: asyncio.subprocess.Process) -> str:
    """Wait for the first answer of a server that is starting, and return what it says it is."""
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while server.returncode is None and asyncio.get_running_loop().time() < deadline:
        with contextlib.suppress(CriError):
            version = await client.version()
            return f"{version.runtime_name} {version.runtime_version}"
        await asyncio.sleep(PAUSE_SECONDS)
    raise Unavailable(f"the server does not answer; {_log_end(stage)}")


async def _registry_reachable() -> bool:
    try:
        async with (
            asyncio.timeout(REGISTRY_PROBE_SECONDS),
            aiohttp.ClientSession(trust_env=True) as session,
            session.get(REGISTRY_PROBE) as answer,
        ):
            return answer.status in (200, 401)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


async def _import_images(stage: Stage) -> None:
    """Build what the pod needs from the host's busybox, and put it into containerd under the usual names."""
    pod = read_manifest(stage.manifest.read_text(), "", stage.directory)
    async with stage.steps.step("no registry in reach: build images from this host's busybox") as step:
        busybox = await asyncio.to_thread(busybox_image)
        images: dict[str, Image] = {image: busybox for image, _ in pod.images}
        images[Configuration().sandbox_image] = await asyncio.to_thread(pause_image)
        step.result = ", ".join(images)
    archive = stage.directory / "images.tar"
    archive.write_bytes(await asyncio.to_thread(layout_archive, images))
    async with stage.steps.step("import them into containerd"):
        process = await asyncio.create_subprocess_exec(
            *("ctr", "--address", embedded_layout(stage.directory).address, "--namespace", "k8s.io"),
            *("images", "import", str(archive)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise Unavailable(f"ctr images import: {output.decode().strip()}")
    archive.unlink()


async def _pod_address(client: CriClient, pod: PodPlan) -> str:
    listed = (await client.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())).items
    found = [item.id for item in listed if item.metadata.name == pod.name]
    request = criv1.PodSandboxStatusRequest(pod_sandbox_id=found[0])
    return (await client.runtime.PodSandboxStatus(request)).status.network.ip


async def _request(stage: Stage, address: str) -> None:
    url = f"http://{address}:{WEB_PORT}/"
    async with stage.steps.step(f"request from this host over the pod network: {url}") as step:
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                        step.result = f"-> {answer.status} {(await answer.text()).strip()}"
                        return
                except (aiohttp.ClientError, TimeoutError) as error:
                    if asyncio.get_running_loop().time() > deadline:
                        raise Unavailable(f"no answer from {url}: {error}") from error
                await asyncio.sleep(PAUSE_SECONDS)


def _metrics_address() -> str:
    """The usual address, or a free one where another server on this machine has taken that."""
    for port in (METRICS_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return f"127.0.0.1:{probe.getsockname()[1]}"
    raise Unavailable("no free TCP port on 127.0.0.1")


async def _run(*arguments: str) -> None:
    """Run one of our own commands with its output going where ours goes."""
    process = await asyncio.create_subprocess_exec(*_command(*arguments), stdin=asyncio.subprocess.DEVNULL)
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
    if status != 0:
        raise Unavailable(f"cri-shim {' '.join(arguments)} ended with {status}")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cri.app.cli", *arguments]


def _pod_directory(stage: Stage) -> tuple[str, str]:
    return ("--directory", str(stage.directory / "pods"))


def _log_end(stage: Stage) -> str:
    with contextlib.suppress(OSError):
        lines = stage.server_log.read_text(errors="replace").splitlines()[-SHOWN_LOG_LINES:]
        return f"{stage.server_log} ends with:\n" + "\n".join(lines)
    return f"nothing in {stage.server_log}"


def _parting_words(stage: Stage) -> str:
    program = Path(sys.executable).with_name("cri-shim")
    own = os.path.relpath(program) if program.exists() else "cri-shim"
    return f"""
serving; try in another terminal:
  crictl --runtime-endpoint unix://{stage.endpoint} ps
  {own} pod ls --endpoint {stage.endpoint}
  {own} pod exec hello --container web --endpoint {stage.endpoint} -- ps
  curl http://{stage.metrics_address}/metrics
server's log: {stage.server_log}
Ctrl-C stops everything and leaves nothing behind."""


if __name__ == "__main__":
    sys.exit(main())
