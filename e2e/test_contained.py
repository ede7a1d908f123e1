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
from dataclasses import dataclass
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
from e2e.harness.patience import patiently
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
    namespace: str

    @property
    def cgroup(self) -> str:
        """The server's, which no other node has."""
        return f"/e2e-server-{self.containerd.layout.fingerprint}"

    @property
    def pods_cgroup(self) -> str:
        return f"/e2e-{self.containerd.layout.fingerprint}"

    @property
    def endpoint(self) -> str:
        """The socket that the server in the container serves on."""
        return str(self.home / "server" / "cri-shim.sock")

    @property
    def log_file(self) -> Path:
        return self.home / "server" / "cri-shim.log"

    async def run(self, command: str, *arguments: str) -> str:
        """`cri-shim contained`."""
        daemon = (
            "--containerd",
            self.containerd.address,
            "--namespace",
            self.namespace,
            "--cgroup",
            self.cgroup,
        )
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

    def log_keepers(self) -> list[int]:
        """The processes that write this node's logs: one, or none."""
        socket = str(self.home / "server" / "state" / "log-keeper.sock")
        return [pid for pid, command in processes() if socket in command]


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


@pytest_asyncio.fixture(loop_scope="session", params=[NAMESPACE, "k8s.io"])
async def contained(node: Node, request: pytest.FixtureRequest) -> AsyncIterator[Contained]:
    """Each test has a containerd of its own: what a failed one leaves running ends with it."""
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
            running = Contained(home, containerd, settings, f"{node.registry.host}/{BUSYBOX}", request.param)
            try:
                yield running
            finally:
                await running.run("remove")  # or the monitor would start the server again
                for pid in running.log_keepers():
                    await end_process(pid, signal.SIGTERM)
        for cgroup in (running.pods_cgroup, running.cgroup, f"{running.cgroup}-log-keeper"):
            remove_cgroups(cgroup)
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


@pytest.mark.timeout(patiently(240))
async def test_a_server_in_a_container_serves_and_is_kept_running(contained: Contained) -> None:
    image, bound = await imported(contained)
    await contained.install(image, bound)
    async with connected(contained.endpoint) as cri:
        for reference in (contained.settings.sandbox_image, contained.busybox):
            await cri.image.PullImage(criv1.PullImageRequest(image=criv1.ImageSpec(image=reference)))
        workloads = Workloads(cri, contained.home / "logs", contained.busybox, contained.pods_cgroup)
        pod = await workloads.pod()
        counting = await pod.run(command=["sh", "-c", COUNTER])
        assert await counting.output_of("hostname") == "pod"
        before, address = await counting.status(), await pod.address()
        (log_keeper,) = contained.log_keepers()

        killed = await contained.server_pid()
        os.kill(killed, signal.SIGKILL)
        await eventually(
            contained.server_pid, lambda pid: pid not in (0, killed), "another server", patiently(30)
        )
        await answering(contained.endpoint, None, contained.log_file)
        assert contained.log_keepers() == [log_keeper], "the log keeper ended with the server's container"
        assert await counting.status() == before
        assert await pod.address() == address
        assert await (await pod.sleeper("second")).output_of("hostname") == "pod"

        await contained.install(image, bound)  # as an upgrade does
        assert await counting.status() == before
        told = await contained.run("remove")
        assert f"log keeper {log_keeper} writes on, containers: 2;" in told

        async def written() -> int:
            return counting.log_file.stat().st_size

        size = await written()
        await eventually(written, lambda now: now > size, "output without a server")
        await contained.install(image, bound)
        assert contained.log_keepers() == [log_keeper]
        await counting.stop()
        numbers = [int(line) for line in joined(await counting.settled_log(), "stdout")]
        assert numbers == list(range(1, len(numbers) + 1)), "a line was lost, doubled or cut"
        await workloads.remove()
    assert await contained.run("remove") == "removed\n"
    assert contained.log_keepers() == []
    assert cgroups_left(contained.cgroup) == []
    Path(contained.endpoint).unlink(missing_ok=True)
    assert await contained.ctr("containers", "ls", "--quiet") == ""


def cgroups_left(cgroup: str) -> list[Path]:
    """The server's and its log keeper's, on either version."""
    root, name = Path("/sys/fs/cgroup"), cgroup.lstrip("/")
    return [*root.glob(f"{name}*"), *root.glob(f"*/{name}*")]
