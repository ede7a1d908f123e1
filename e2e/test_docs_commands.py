"""The commands of `docs/` are run as they stand, in their order, on a node with the usual paths.

What needs more than such a node (a package archive, a cluster, systemd) is named with the place where it is shown, or
the reason; a command that is neither run nor named fails the test. The service manager is played: it starts and ends
what its unit would.
"""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from api.wire import criv1
from cri.app.built_image import layout_archive
from cri.app.host_images import busybox_image, pause_image
from e2e.harness.cri import connected
from e2e.harness.node_apart import CONTAINERD, CONTAINERD_LOG, NodeApart, node_apart
from e2e.harness.settings import ServerSettings
from e2e.test_manifests import ELSEWHERE, NETWORK, PLUGIN_OFF, PROJECT, SERVER_LOG, SOCKET

pytestmark = [pytest.mark.cri_shim_only, pytest.mark.timeout(300)]

BLOCK: Final = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
PAUSE, BUSYBOX, IMAGE = "localhost/pause:1", "docker.io/library/busybox:stable", "registry.example/app:1"
SHOWN_ELSEWHERE: Final = {
    "make ": "the Makefile's targets are CI's, or have tests of their own",
    "apt-get ": "needs a Debian to install into; tried by hand in a new one on 2026-11-30",
    "python3 -m venv": "make venv does the same",
    "/opt/cri-shim/bin/pip": "deploy/debian/build.sh and deploy/image/build.sh do the same",
    "ln -s /opt/cri-shim": "the package does the same",
    "install -D -m 644 deploy/systemd": "e2e/test_service.py",
    "crictl ": "crictl is not ours; docs/conformance.md",
    "kubectl ": "needs a cluster",
    "systemctl stop kubelet": "e2e/test_real_kubelet.py",
    "sed -i 's,unix:": "needs a cluster",
    "ctr ": "e2e/test_contained.py",
    "cri-shim contained ": "e2e/test_contained.py",
    "cri-shim serve --embedded": "e2e/test_embedded.py",
    "cri-shim image pull": "e2e/test_images_command.py; there is no registry in the node",
}
"""What a command begins with, and where it is shown, or why it cannot be."""
JUDGES: Final = ("cri-shim doctor",)
"""They end with 1 where they find something, as on a machine for tests."""
START_SERVER: Final = (
    f"setsid cri-shim serve --config /etc/cri-shim/config.toml >>{SERVER_LOG} 2>&1 </dev/null &"
    " echo $! >/run/server.pid"
)
STOP_SERVER: Final = (
    "pid=$(cat /run/server.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done"
)
HAND_BACK: Final = "systemctl disable --now cri-shim"


def commands(page: str) -> list[str]:
    """The lines of a page's shell blocks, without remarks."""
    lines = (
        line for block in BLOCK.findall((PROJECT / "docs" / page).read_text()) for line in block.splitlines()
    )
    return [command for line in lines if (command := line.split("  #")[0].strip())]


@dataclass(frozen=True, slots=True)
class Administrator:
    """Runs the commands of pages on a node."""

    node: NodeApart

    async def follow(self, lines: list[str]) -> None:
        """Run each, or know where it is shown."""
        for line in lines:
            if not line.startswith(tuple(SHOWN_ELSEWHERE)):
                await self._run(line)

    async def _run(self, line: str) -> None:
        match line:
            case "systemctl restart containerd":
                await self.node.stop_containerd()
                await self.node.start_containerd(PLUGIN_OFF.read_text() + ELSEWHERE)
            case "systemctl enable --now cri-shim":
                await self._shell(START_SERVER)
                await self.node.served(SOCKET, SERVER_LOG)
            case "systemctl disable --now cri-shim":
                await self._shell(STOP_SERVER)
            case _ if line.startswith("cri-shim "):
                command = line.replace("deploy/", f"{PROJECT}/deploy/").replace(IMAGE, BUSYBOX)
                judging = " || [ $? = 1 ]" if line.startswith(JUDGES) else ""
                said = await self._shell(f"{{ {command}; }} 2>&1{judging}")
                assert "Traceback" not in said, f"{line}: {said}"
            case _:
                pytest.fail(f"say in {Path(__file__).name} how `{line}` is run, or where it is shown")

    async def _shell(self, script: str) -> str:
        path = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; cd {self.node.home}; "
        return await self.node.run("bash", "-c", path + script)


async def test_the_pages_can_be_followed() -> None:
    settings = ServerSettings(PAUSE, "/usr/lib/cni", "/etc/cni/net.d", "/etc/containerd/certs.d")
    plugin_on = f"version = 2\n{ELSEWHERE}{settings.plugin_tables()}"
    async with node_apart() as node:
        (node.home / "etc" / "cni" / "net.d" / NETWORK.name).write_bytes(NETWORK.read_bytes())
        await node.start_containerd(plugin_on)
        await node.served(CONTAINERD, CONTAINERD_LOG)
        archive = node.home / "images.tar"
        archive.write_bytes(layout_archive({PAUSE: pause_image(), BUSYBOX: busybox_image()}))
        await node.run("ctr", "--namespace", "k8s.io", "images", "import", archive)
        administrator = Administrator(node)
        installing = commands("installing.md")
        served = installing.index(HAND_BACK)

        await administrator.follow(installing[:served])
        async with connected(str(node.home / SOCKET.lstrip("/"))) as cri:
            (pod,) = (await cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())).items
            assert (pod.metadata.name, pod.state) == ("hello", criv1.SANDBOX_READY)
        await administrator.follow(commands("operating.md"))
        await administrator.follow(commands("images.md"))

        await administrator.follow(installing[served:])
        await node.stop_containerd()
        await node.start_containerd(plugin_on)
        async with connected(await node.served(CONTAINERD, CONTAINERD_LOG)) as plugin:
            (back,) = (await plugin.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())).items
            assert (back.id, back.state) == (pod.id, criv1.SANDBOX_READY), (
                "the plugin has it again, and it runs"
            )


@pytest.mark.parametrize("page", ["conformance.md", "extending.md", "kubelet.md"])
def test_what_developers_are_told_to_run_is_there(page: str) -> None:
    """These run whole suites: their programs exist, and make's targets are the Makefile's."""
    for line in commands(page):
        words = [word for word in shlex.split(line) if "=" not in word]
        if words[0] == "make":
            assert f"\n{words[1]}:" in (PROJECT / "Makefile").read_text(), line
        else:
            missing = [word for word in words if "/" in word and not (PROJECT / word).exists()]
            assert not missing, f"{line}: {missing}"
