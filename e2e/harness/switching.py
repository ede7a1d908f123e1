"""One containerd that is served by its own CRI plugin and by cri-shim in turns, for handing pods to and fro."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.app.embedded_layout import DISABLED_PLUGINS, containerd_configuration
from cri.app.host_images import pause_image
from e2e.harness import catalogue
from e2e.harness.certs import write_mirror
from e2e.harness.cri import Cri, connected
from e2e.harness.node import BUSYBOX, PAUSE, linked_plugins, remove_cgroups, short_directory
from e2e.harness.push import push
from e2e.harness.registry import registry
from e2e.harness.server import BuiltInContainerd, BuiltInCri, CriShim
from e2e.harness.settings import ServerSettings
from e2e.harness.workload import Pod, Workloads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class SwitchableContainerd(BuiltInContainerd):
    """A private containerd whose CRI plugin is on or off, as the next start finds `plugin_on`."""

    plugin_on = True

    def configuration(self) -> str:
        """With the plugin's tables while it is on."""
        return (
            super().configuration()
            if self.plugin_on
            else containerd_configuration(self.layout, DISABLED_PLUGINS)
        )

    async def restart(self, *, plugin_on: bool) -> None:
        """Restart with the plugin on or off; containers do not notice."""
        self.plugin_on = plugin_on
        await self.stop()
        self.layout.configuration_file.write_text(self.configuration())
        await self.start()


@dataclass(slots=True)
class SwitchingNode:
    """The containerd and the two servers, of which one serves."""

    home: Path
    containerd: SwitchableContainerd
    builtin: BuiltInCri
    shim: CriShim
    busybox: str
    cgroup_parent: str
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def served_by_plugin(self) -> Cri:
        """Restart containerd with its plugin on; a client of it."""
        await self.containerd.restart(plugin_on=True)
        await self.builtin.start()
        return await self._stack.enter_async_context(connected(self.builtin.endpoint))

    async def served_by_shim(self) -> Cri:
        """Restart containerd with its plugin off and start cri-shim; a client of it."""
        await self.containerd.restart(plugin_on=False)
        await self.shim.start()
        return await self._stack.enter_async_context(connected(self.shim.endpoint))

    async def hand_back(self) -> None:
        """`cri-shim hand-back`, with the server stopped."""
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "cri.app.cli",
                "hand-back",
                "--config",
                str(self.hand_back_configuration()),
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()

    def hand_back_configuration(self) -> Path:
        """The server's configuration with what it is otherwise told by flags."""
        text = self.shim.configuration_file.read_text()
        keys = f'root = "{self.shim.root}"\nstate = "{self.shim.state}"\n'
        socket = f'[grpc]\naddress = "{self.shim.endpoint}"\n'
        path = self.shim.configuration_file.with_name("hand-back.toml")
        path.write_text(keys + text + socket)
        return path

    def workloads(self, cri: Cri) -> Workloads:
        """Pods made through one of the clients."""
        return Workloads(cri, self.home / "logs", self.busybox, self.cgroup_parent)

    def seen_by(self, cri: Cri, pod: Pod) -> Pod:
        """The same pod through another server."""
        return Pod(cri, pod.id, pod.config, pod.image)


@contextlib.asynccontextmanager
async def switching_node() -> AsyncIterator[SwitchingNode]:
    """Bring containerd up with its plugin on and the images pulled; nothing is left at the end."""
    home = short_directory("e2e-switch")
    try:
        async with contextlib.AsyncExitStack() as stack:
            shelf = await stack.enter_async_context(registry(home / "registry"))
            await push(shelf, "pause", "1", pause_image())
            await push(shelf, "e2e/busybox", "1", catalogue.busybox())
            instance = home / "node"
            settings = ServerSettings(
                sandbox_image=f"{shelf.host}/{PAUSE}",
                cni_bin_dir=str(linked_plugins(home / "cni-bin")),
                cni_conf_dir=str(instance / "cni" / "net.d"),
                certs_directory=str(home / "certs.d"),
            )
            write_mirror(Path(settings.certs_directory), shelf.host, shelf)
            containerd = await stack.enter_async_context(SwitchableContainerd(instance, settings))
            shim = CriShim(instance / "cri-shim", containerd, settings)
            parent = f"/e2e-{containerd.layout.fingerprint}"
            stack.callback(remove_cgroups, parent)
            stack.push_async_callback(shim.end_log_keeper)
            stack.push_async_callback(shim.stop)
            image = f"{shelf.host}/{BUSYBOX}"
            builtin = BuiltInCri(containerd)
            await builtin.start()
            node = SwitchingNode(home, containerd, builtin, shim, image, parent)
            await stack.enter_async_context(node._stack)
            cri = await stack.enter_async_context(connected(containerd.address))
            for reference in (settings.sandbox_image, image):
                await cri.image.PullImage(criv1.PullImageRequest(image=criv1.ImageSpec(image=reference)))
            yield node
    finally:
        shutil.rmtree(home, ignore_errors=True)
