"""The server in a container that containerd keeps running: `cri-shim contained`.

The image is a skeleton on which the host's programs and this project are bound, unless E2E_IMAGE names an archive that
`make image` has made.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from api.containerd import Client, ProcessStatus
from api.containerd.errors import NotFound
from api.wire import criv1
from cri.app.built_image import Entry, Settings, image_of, layer_of, layout_archive
from cri.app.contained.keeping import CONTAINER, NAMESPACE
from cri.app.embedded import EmbeddedContainerd
from cri.app.embedded_layout import DISABLED_PLUGINS, containerd_configuration
from cri.app.embedded_remains import end_process
from cri.app.host_images import host_architecture
from cri.linux.process import processes
from e2e.harness.certs import write_mirror
from e2e.harness.cri import connected
from e2e.harness.eventually import eventually
from e2e.harness.log_lines import joined
from e2e.harness.neighbours import output_of
from e2e.harness.node import BUSYBOX, PAUSE, linked_plugins, remove_cgroups, short_directory
from e2e.harness.server import answering
from e2e.harness.settings import ServerSettings
from e2e.harness.workload import Workloads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node

pytestmark = pytest.mark.cri_shim_only

RESTART = "io.containerd.internal.v1.restart"
PROJECT = Path(__file__).parent.parent
SKELETON = "localhost/cri-shim:skeleton"
CNI_CACHE = Path("/var/lib/cni")
COUNTER = "number=0; while :; do number=$((number + 1)); echo $number; sleep 0.02; done"


class RestartingContainerd(EmbeddedContainerd):
    """A private containerd with its restart monitor on, which looks every second."""

    def configuration(self) -> str:
        """The embedded configuration with one plugin more."""
        disabled = tuple(name for name in DISABLED_PLUGINS if name != RESTART)
        return containerd_configuration(self.layout, disabled) + f'[plugins."{RESTART}"]\ninterval = "1s"\n'


@dataclass(frozen=True, slots=True)
class Contained:
    """A containerd below a directory whose mounts spread, and the command for it."""

    home: Path
    containerd: EmbeddedContainerd
    settings: ServerSettings
    busybox: str
    namespace: str = NAMESPACE

    @property
    def endpoint(self) -> str:
        """The socket that the server in the container serves on."""
        return str(self.home / "server" / "cri-shim.sock")

    @property
    def log_file(self) -> Path:
        return self.home / "server" / "cri-shim.log"

    async def run(self, command: str, *arguments: str) -> str:
        """`cri-shim contained`."""
        daemon = "--containerd", self.containerd.address, "--namespace", self.namespace
        return await output_of(sys.executable, "-m", "cri.app.cli", "contained", command, *daemon, *arguments)

    async def ctr(self, *arguments: str) -> str:
        daemon = "--address", self.containerd.address, "--namespace", self.namespace
        return await output_of("ctr", *daemon, *arguments)

    async def install(self, image: str, bound: list[str]) -> None:
        """Have the server run with everything below `home`, and wait until it answers."""
        server = self.home / "server"
        server.mkdir(exist_ok=True)
        configuration = server / "config.toml"
        configuration.write_text(self.settings.server_configuration(self.containerd.address))
        options = [word for path in bound for word in ("--bind", path)]
        await self.run(
            *("install", "--mount", str(self.home), *options, "--log-file", str(self.log_file), image),
            *("--config", str(configuration), "--listen", self.endpoint),
            *("--root", str(server / "root"), "--state", str(server / "state")),
            *("--cni-conf-dir", self.settings.cni_conf_dir, "--cni-bin-dir", self.settings.cni_bin_dir),
            *("--metrics-address", "127.0.0.1:0"),
        )
        await answering(self.endpoint, None, self.log_file)

    async def server_pid(self) -> int:
        """The server's process, 0 while there is none."""
        async with Client(self.containerd.address, self.namespace) as client:
            with contextlib.suppress(NotFound):
                process = await client.tasks.get(CONTAINER)
                return process.pid if process.status is ProcessStatus.RUNNING else 0
        return 0

    async def end_log_keeper(self) -> None:
        """For the end, as nobody else ends it."""
        for pid, command in processes():
            if any(str(self.home / "server") in word for word in command):
                await end_process(pid, signal.SIGTERM)


def skeleton() -> bytes:
    """An archive with nothing but places for what is bound from the host, and a program that starts the server."""
    program = f"#!{sys.executable}\nimport sys\nfrom cri.app.cli import main\nsys.exit(main())\n"
    places = ("usr", "etc", "proc", "sys", "dev", "run", "tmp", "var", "var/log", "opt", "opt/cri-shim")
    links = ("bin", "sbin", "lib", "lib64")
    entries = [
        *(Entry(place) for place in places),
        *(Entry(link, symlink=f"usr/{link}") for link in links),
        Entry("opt/cri-shim/bin"),
        Entry("opt/cri-shim/bin/cri-shim", program.encode(), mode=0o755),
    ]
    return layout_archive({SKELETON: image_of([layer_of(entries)], Settings(), host_architecture())})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def contained(node: Node) -> AsyncIterator[Contained]:
    home = short_directory("e2e-contained")
    await output_of("mount", "--bind", home, home)
    await output_of("mount", "--make-shared", home)
    settings = ServerSettings(
        sandbox_image=f"{node.registry.host}/{PAUSE}",
        cni_bin_dir=str(linked_plugins(home / "cni-bin")),
        cni_conf_dir=str(home / "node" / "cni" / "net.d"),
        certs_directory=str(home / "certs.d"),
    )
    write_mirror(Path(settings.certs_directory), node.registry.host, node.registry)
    try:
        async with RestartingContainerd(home / "node") as containerd:
            running = Contained(home, containerd, settings, f"{node.registry.host}/{BUSYBOX}")
            yield running
            await running.end_log_keeper()
            remove_cgroups(f"/e2e-{containerd.layout.fingerprint}")
    finally:
        await output_of("umount", "--recursive", "--lazy", home)
        shutil.rmtree(home, ignore_errors=True)


async def imported(contained: Contained) -> tuple[str, list[str]]:
    """The image's name, and what it needs of the host beside what every node has."""
    given = os.environ.get("E2E_IMAGE")
    archive = Path(given) if given else contained.home / "skeleton.tar"
    if not given:
        archive.write_bytes(skeleton())
    await contained.ctr("images", "import", str(archive))
    names = (await contained.ctr("images", "ls", "--quiet")).split()
    name = next(each for each in names if "/cri-shim:" in each)
    skeleton_needs = {"/usr", "/etc/alternatives", sys.base_prefix, sys.prefix, str(PROJECT)}
    CNI_CACHE.mkdir(parents=True, exist_ok=True)
    return name, [str(CNI_CACHE), *sorted(() if given else skeleton_needs)]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("namespace", [NAMESPACE, "k8s.io"])
async def test_a_server_in_a_container_serves_and_is_kept_running(
    contained: Contained, namespace: str
) -> None:
    contained = replace(contained, namespace=namespace)
    image, bound = await imported(contained)
    await contained.install(image, bound)
    try:
        async with connected(contained.endpoint) as cri:
            for reference in (contained.settings.sandbox_image, contained.busybox):
                await cri.image.PullImage(criv1.PullImageRequest(image=criv1.ImageSpec(image=reference)))
            parent = f"/e2e-{contained.containerd.layout.fingerprint}"
            workloads = Workloads(cri, contained.home / f"logs-{namespace}", contained.busybox, parent)
            pod = await workloads.pod()
            counting = await pod.run(command=["sh", "-c", COUNTER])
            assert await counting.output_of("hostname") == "pod"
            before, address = await counting.status(), await pod.address()

            killed = await contained.server_pid()
            os.kill(killed, signal.SIGKILL)
            await eventually(contained.server_pid, lambda pid: pid not in (0, killed), "another server", 30)
            await answering(contained.endpoint, None, contained.log_file)
            assert await counting.status() == before
            assert await pod.address() == address
            assert await (await pod.sleeper("second")).output_of("hostname") == "pod"

            await contained.install(image, bound)  # as an upgrade does
            assert await counting.status() == before
            await counting.stop()
            numbers = [int(line) for line in joined(await counting.settled_log(), "stdout")]
            assert numbers == list(range(1, len(numbers) + 1)), "a line was lost, doubled or cut"
            await workloads.remove()
    finally:
        await contained.run("remove")
    with contextlib.suppress(FileNotFoundError):
        Path(contained.endpoint).unlink()
    assert await contained.ctr("containers", "ls", "--quiet") == ""
