"""The pod of `deploy/image/static-pod.yaml` brings the server to a node whose first runtime is containerd's CRI plugin.

`cri-shim pod run` plays the kubelet: it makes of the manifest what the kubelet would. The image is the skeleton of
test_contained, which needs some directories of the host more, unless E2E_IMAGE names an archive that `make image` made.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.wire import criv1
from cri.app.built_image import layout_archive
from cri.app.contained.specification import PATH
from cri.app.host_images import busybox_image, pause_image
from e2e.harness.cri import connected
from e2e.harness.eventually import eventually
from e2e.harness.node_apart import CONTAINERD, CONTAINERD_LOG, NodeApart, node_apart
from e2e.harness.patience import patiently
from e2e.harness.settings import ServerSettings
from e2e.harness.workload import Workloads
from e2e.test_contained import SKELETON, skeleton

pytestmark = [pytest.mark.cri_shim_only, pytest.mark.timeout(300)]

PROJECT = Path(__file__).parent.parent
MANIFEST = PROJECT / "deploy" / "image" / "static-pod.yaml"
NETWORK = PROJECT / "deploy" / "cni" / "10-bridge.conflist"
PLUGIN_OFF = PROJECT / "deploy" / "containerd" / "config.toml"
PROGRAM = (sys.executable, "-m", "cri.app.cli")
SOCKET = "/run/cri-shim/cri-shim.sock"
SERVER_LOG = "/var/log/cri-shim.log"
PAUSE, BUSYBOX = "localhost/pause:1", "localhost/busybox:1"
ELSEWHERE = """
[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"
[plugins."io.containerd.internal.v1.restart"]
interval = "1s"
"""
"""What a test needs of containerd's configuration: nothing of the machine's /opt, and no ten seconds to wait."""


def needed_by_skeleton() -> list[str]:
    return sorted({"/usr", "/etc/alternatives", sys.base_prefix, sys.prefix, str(PROJECT)})


def without_probes(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Take the HTTP probes out of the containers, for whoever asks them; `cri-shim pod` refuses what it does not do."""
    return [each.pop("readinessProbe")["httpGet"] for each in manifest["spec"]["containers"]]


def with_skeleton(manifest: dict[str, Any]) -> None:
    """Give the pod, and the server that it installs, what the skeleton lacks: directories of the host, and PATH."""
    spec = manifest["spec"]
    (install,) = spec["initContainers"]
    place = install["command"].index(install["image"])
    for container in (install, *spec["containers"]):
        container["env"] = [{"name": "PATH", "value": PATH}]
    for number, path in enumerate(needed_by_skeleton()):
        name = f"skeleton-{number}"
        install["command"][place:place] = ["--bind", path]
        spec["volumes"].append({"name": name, "hostPath": {"path": path, "type": "Directory"}})
        for container in (install, *spec["containers"]):
            container.setdefault("volumeMounts", []).append({"name": name, "mountPath": path})


async def import_images(node: NodeApart, name: str) -> None:
    """The image under its name in the manifest, as if pulled, and those of the pods."""
    given = os.environ.get("E2E_IMAGE")
    archives = {"pods": layout_archive({PAUSE: pause_image(), BUSYBOX: busybox_image()})}
    if not given:
        archives["skeleton"] = skeleton()
    files = [Path(given)] if given else []
    for stem, content in archives.items():
        files.append(node.home / f"{stem}.tar")
        files[-1].write_bytes(content)
    for file in files:
        await node.run("ctr", "--namespace", "k8s.io", "images", "import", file)
    if not given:
        await node.run("ctr", "--namespace", "k8s.io", "images", "tag", SKELETON, name)


async def test_a_static_pod_brings_the_server_to_a_node() -> None:
    manifest = yaml.safe_load(MANIFEST.read_text())
    probes = without_probes(manifest)
    if "E2E_IMAGE" not in os.environ:
        with_skeleton(manifest)
    settings = ServerSettings(PAUSE, "/usr/lib/cni", "/etc/cni/net.d", "/etc/containerd/certs.d")
    async with node_apart() as node:
        await node.start_containerd(f"version = 2\n{ELSEWHERE}{settings.plugin_tables()}")
        await node.served(CONTAINERD, CONTAINERD_LOG)
        await import_images(node, manifest["spec"]["containers"][0]["image"])
        (node.home / "pod.yaml").write_text(yaml.safe_dump(manifest))
        daemon = "--endpoint", f"/{CONTAINERD}"
        await node.run(
            *PROGRAM, "pod", "run", node.home / "pod.yaml", *daemon, "--directory", "/var/lib/pods"
        )

        # The server does not come up beside the plugin, says so, and is tried again.
        async def server_log() -> str:
            log = node.home / SERVER_LOG.lstrip("/")
            return log.read_text() if log.exists() else ""

        await eventually(
            server_log, lambda text: text.count("serves CRI itself") > 1, "refusals", patiently(60.0)
        )
        await node.stop_containerd()
        (node.home / "etc" / "cni" / "net.d" / NETWORK.name).write_bytes(NETWORK.read_bytes())
        await node.start_containerd(PLUGIN_OFF.read_text() + ELSEWHERE)

        async with connected(await node.served(SOCKET, SERVER_LOG)) as cri:
            (own,) = (await cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())).items
            assert (own.metadata.name, own.state) == (manifest["metadata"]["name"], criv1.SANDBOX_READY)
            containers = (await cri.runtime.ListContainers(criv1.ListContainersRequest())).containers
            assert {each.metadata.name: each.state for each in containers} == {
                "install": criv1.CONTAINER_EXITED,
                "watch": criv1.CONTAINER_RUNNING,
            }
            for probe in probes:
                url = "http://{host}:{port}{path}".format_map(probe)
                assert await node.run("busybox", "wget", "-q", "-O", "-", url) == "ok\n"

            workloads = Workloads(cri, node.home / "logs", BUSYBOX, "/pods")
            pod = await workloads.pod()
            assert (await pod.address()).startswith("10.88.")
            assert await (await pod.sleeper()).output_of("hostname") == "pod"

            # The pod has done its work: the server goes on when it is gone, and serves its clients while it goes.
            await node.run(
                *PROGRAM, "pod", "rm", manifest["metadata"]["name"], "--namespace", "kube-system",
                *("--endpoint", SOCKET, "--grace", "0"),
            )  # fmt: skip
            assert await (await pod.sleeper("second")).output_of("hostname") == "pod"
            await workloads.remove()
        await node.run(*PROGRAM, "contained", "remove", "--namespace", "k8s.io")
        assert await node.run("ctr", "--namespace", "k8s.io", "containers", "ls", "--quiet") == ""
