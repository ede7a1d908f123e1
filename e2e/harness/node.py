"""One node for tests: a private containerd, a registry, a CRI server, and the images that tests use."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.app.embedded import EmbeddedContainerd
from cri.app.embedded_network import plugin_directories
from cri.app.host_images import pause_image
from e2e.harness import catalogue
from e2e.harness.certs import write_mirror
from e2e.harness.cri import Cri, connected
from e2e.harness.push import push
from e2e.harness.registry import Registry, registry
from e2e.harness.server import BuiltInContainerd, BuiltInCri, CriServer, CriShim
from e2e.harness.settings import ServerSettings
from e2e.harness.workload import Workloads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

CRI_SHIM, BUILT_IN = "cri-shim", "builtin"
PAUSE = "pause:1"
BUSYBOX = "e2e/busybox:1"
CGROUP_ATTEMPTS, CGROUP_PAUSE_SECONDS = 20, 0.05


@dataclass(frozen=True, slots=True)
class Node:
    """Everything a test can lay hands on."""

    directory: Path
    containerd: EmbeddedContainerd
    registry: Registry
    server: CriServer
    cri: Cri
    settings: ServerSettings
    cgroup_parent: str
    busybox: str

    @property
    def certs_directory(self) -> Path:
        """The `certs.d` tree in use; read by servers at each pull."""
        return Path(self.settings.certs_directory)


def short_directory(name: str) -> Path:
    """A fresh directory whose path leaves room for socket names below it.

    Everybody may pass through: the root of a pod with a user namespace of its own is nobody here.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))
    directory.chmod(0o711)
    return directory


@contextlib.asynccontextmanager
async def node(kind: str, directory: Path | None = None) -> AsyncIterator[Node]:
    """Bring a node up and take it down; its directory is removed unless E2E_KEEP is set."""
    home = directory or short_directory(f"e2e-{kind}")
    try:
        async with contextlib.AsyncExitStack() as stack:
            shelf = await stack.enter_async_context(registry(home / "registry"))
            await push(shelf, "pause", "1", pause_image())
            await push(shelf, "e2e/busybox", "1", catalogue.busybox())
            yield await assemble(stack, kind, home, shelf)
    finally:
        if "E2E_KEEP" not in os.environ:
            shutil.rmtree(home, ignore_errors=True)


async def assemble(
    stack: contextlib.AsyncExitStack,
    kind: str,
    home: Path,
    shelf: Registry,
    *,
    sandbox_image: str = "",
    busybox: str = "",
    networks: Mapping[str, str] | None = None,
    log_level: str = "debug",
) -> Node:
    """Start containerd and the server on a registry that holds the sandbox image and a busybox.

    Without full names for them, they are those that `node` has pushed. What is started is ended by `stack`, the
    server before its containerd. `networks` are CNI configuration directories by runtime handler; `log_level` is
    cri-shim's.
    """
    instance = home / "node"
    settings = ServerSettings(
        sandbox_image=sandbox_image or f"{shelf.host}/{PAUSE}",
        cni_bin_dir=str(linked_plugins(home / "cni-bin")),
        cni_conf_dir=str(instance / "cni" / "net.d"),
        certs_directory=str(home / "certs.d"),
        networks=networks or {},
    )
    write_mirror(Path(settings.certs_directory), shelf.host, shelf)
    server: CriServer
    if kind == BUILT_IN:
        containerd: EmbeddedContainerd = BuiltInContainerd(instance, settings)
        await stack.enter_async_context(containerd)
        server = BuiltInCri(containerd)
    else:
        containerd = EmbeddedContainerd(instance)
        await stack.enter_async_context(containerd)
        server = shim = CriShim(instance / "cri-shim", containerd, settings, log_level)
        stack.push_async_callback(shim.end_log_keeper)
        stack.push_async_callback(shim.stop)
    await server.start()
    client = await stack.enter_async_context(connected(server.endpoint))
    image = busybox or f"{shelf.host}/{BUSYBOX}"
    for reference in (settings.sandbox_image, image):
        await client.image.PullImage(criv1.PullImageRequest(image=criv1.ImageSpec(image=reference)))
    parent = f"/e2e-{containerd.layout.fingerprint}"
    stack.callback(remove_cgroups, parent)
    await warm_up(Workloads(client, home / "logs", image, parent))
    return Node(instance, containerd, shelf, server, client, settings, parent, image)


async def warm_up(workloads: Workloads) -> None:
    """Run and remove one pod, so that directories which are made once and stay are there from now on."""
    pod = await workloads.pod("warm-up")
    await pod.sleeper()
    await workloads.remove()


def linked_plugins(directory: Path) -> Path:
    """A directory with links to all CNI plugins, to which a test can add plugins of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    for place in plugin_directories():
        for program in Path(place).iterdir():
            with contextlib.suppress(FileExistsError):
                (directory / program.name).symlink_to(program)
    return directory


def remove_cgroups(parent: str) -> None:
    """Remove the cgroup parent of the tests' pods, which nobody else would; the kernel may need a moment."""
    for _ in range(CGROUP_ATTEMPTS):
        tops = [*Path("/sys/fs/cgroup").glob(f"*{parent}"), *Path("/sys/fs/cgroup").glob(parent.lstrip("/"))]
        if not tops:
            return
        for directory, _, _ in (each for top in tops for each in os.walk(top, topdown=False)):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        time.sleep(CGROUP_PAUSE_SECONDS)
