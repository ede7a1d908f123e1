"""`serve --embedded DIR` and the demonstration: one directory, one command, and nothing left afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.wire import criv1
from cri.app.built_image import layout_archive
from cri.app.config.configuration import Configuration
from cri.app.embedded_layout import embedded_layout
from cri.app.host_images import busybox_image, pause_image
from e2e.harness.cri import Cri, connected
from e2e.harness.eventually import eventually
from e2e.harness.leftovers import traces
from e2e.harness.node import short_directory
from e2e.harness.server import answering, log_end
from e2e.harness.workload import Workloads

END_SECONDS = 60.0
IMAGE = "docker.io/library/busybox:stable"
REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def directory() -> Iterator[Path]:
    made = short_directory("embedded")
    yield made
    shutil.rmtree(made, ignore_errors=True)


class EmbeddedServer:
    """`cri-shim serve --embedded`, as a user starts it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.endpoint = str(directory / "cri-shim.sock")
        self.log_file = directory / "cri-shim.log"

    async def start(self) -> None:
        with self.log_file.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cri.app.cli", "serve", "--embedded", str(self.directory)),
                *("--metrics-address", "127.0.0.1:0"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    async def end(self, request: signal.Signals) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(request)
        return await self.ended()

    async def ended(self) -> int:
        async with asyncio.timeout(END_SECONDS):
            return await self.process.wait()


@pytest_asyncio.fixture(loop_scope="session")
async def server(directory: Path) -> AsyncIterator[EmbeddedServer]:
    running = EmbeddedServer(directory)
    await running.start()
    await answering(running.endpoint, running.process, running.log_file)
    await import_images(directory)
    yield running
    await running.end(signal.SIGTERM)


async def import_images(directory: Path) -> None:
    archive = directory / "images.tar"
    images = {IMAGE: busybox_image(), Configuration().sandbox_image: pause_image()}
    archive.write_bytes(layout_archive(images))
    address = embedded_layout(directory).address
    command = ("ctr", "--address", address, "--namespace", "k8s.io", "images", "import", str(archive))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    async with connected(str(directory / "cri-shim.sock")) as cri:

        async def names() -> set[str]:
            listed = (await cri.image.ListImages(criv1.ListImagesRequest())).images
            return {name for image in listed for name in image.repo_tags}

        # The server hears of what others import by events.
        await eventually(names, lambda seen: images.keys() <= seen, "the imported images")


def workloads(cri: Cri, directory: Path) -> Workloads:
    return Workloads(cri, directory / "logs", IMAGE, "")


async def test_a_signal_ends_everything_with_it(server: EmbeddedServer) -> None:
    async with connected(server.endpoint) as cri:
        port = criv1.PortMapping(protocol=criv1.TCP, container_port=80, host_port=18080)
        pod = await workloads(cri, server.directory).pod(ports=[port])
        await pod.sleeper()
        assert await traces(embedded_layout(server.directory)), "the test sees what is there"
    assert await server.end(signal.SIGTERM) == 0, log_end(server.log_file)
    assert await traces(embedded_layout(server.directory)) == []


async def test_after_a_crash_the_next_server_finds_the_pods(server: EmbeddedServer) -> None:
    async with connected(server.endpoint) as cri:
        pod = await workloads(cri, server.directory).pod()
        container = await pod.sleeper()
        await server.end(signal.SIGKILL)
        await server.start()
        await answering(server.endpoint, server.process, server.log_file)
        assert await container.output_of("echo alive") == "alive"
    assert await server.end(signal.SIGTERM) == 0, log_end(server.log_file)
    assert await traces(embedded_layout(server.directory)) == []


async def test_a_second_server_on_the_directory_is_refused(server: EmbeddedServer) -> None:
    second = EmbeddedServer(server.directory)
    second.log_file = server.directory / "second.log"
    await second.start()
    assert await second.ended() != 0
    assert "in use" in second.log_file.read_text()
    async with connected(server.endpoint) as cri:
        await cri.runtime.Version(criv1.VersionRequest())


async def test_images_stay_for_the_next_time(server: EmbeddedServer) -> None:
    await server.end(signal.SIGTERM)
    await server.start()
    await answering(server.endpoint, server.process, server.log_file)
    async with connected(server.endpoint) as cri:
        await workloads(cri, server.directory).pod()


async def test_the_demonstration_shows_a_pod_and_leaves_nothing(directory: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cri.app.demonstration", "deploy/examples/pod.yaml", str(directory)),
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    shown = ""
    async with asyncio.timeout(END_SECONDS):
        while "Ctrl-C stops everything" not in shown:
            line = await process.stdout.readline()
            assert line, f"it ended early:\n{shown}"
            shown += line.decode()
    assert "hello from pod hello" in shown
    assert "request 1: hello from pod hello" in shown
    assert f"crictl --runtime-endpoint unix://{directory}/cri-shim.sock" in shown
    process.send_signal(signal.SIGINT)
    rest, _ = await asyncio.wait_for(process.communicate(), END_SECONDS)
    assert process.returncode == 0, rest.decode()
    assert await traces(embedded_layout(directory)) == []
