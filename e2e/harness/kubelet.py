"""A kubelet from PATH without a control plane, on the node's server: it runs the pods whose manifests a test puts down.

It lives in a mount namespace of its own, with copies of the kernel parameters that it would change and of the
directories that it uses whatever its configuration says. Mounts below its own directory are seen outside, where
containerd needs them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from api.wire import criv1
from e2e.harness.eventually import eventually
from e2e.harness.neighbours import output_of
from e2e.harness.node import short_directory
from e2e.harness.patience import patiently

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from e2e.harness.node import Node

PROGRAM = "kubelet"
NAME = "node"
POD_SECONDS = patiently(60.0)
STOP_SECONDS = patiently(20.0)
OWN_NAMESPACE = """
mount --make-rprivate /proc
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \\
    kernel/keys/root_maxbytes; do
  copy=$(mktemp -p "$0")
  cat /proc/sys/$name > "$copy"
  mount --bind "$copy" /proc/sys/$name
done
for directory in /var/lib/kubelet /var/log/containers; do
  mkdir -p $directory
  mount -t tmpfs tmpfs $directory
done
exec "$@"
"""

PodStatus = dict[str, Any]


class Kubelet:
    """One kubelet's directory and process; it can be stopped and started again, with other settings."""

    def __init__(self, node: Node, directory: Path) -> None:
        self.directory = directory
        self.manifests = directory / "manifests"
        self.logs = directory / "logs"
        self.log_file = directory / "kubelet.log"
        self.manifests.mkdir()
        self._node = node
        self._port, self._read_only_port, self._health_port = _free_ports(3)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, **feature_gates: bool) -> None:
        """Start it and wait until it tells of its pods."""
        file = self.directory / "kubelet.json"
        file.write_text(json.dumps(self._configuration(feature_gates)))
        flags = (
            "--config",
            file,
            "--root-dir",
            self.directory / "root",
            "--cert-dir",
            self.directory / "pki",
        )
        with self.log_file.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *("unshare", "--mount", "--propagation", "unchanged", "sh", "-e", "-c", OWN_NAMESPACE),
                *(str(self.directory), PROGRAM, *map(str, flags), "--hostname-override", NAME),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

        async def answers() -> bool:
            assert self._process is not None
            assert self._process.returncode is None, self.log_file.read_text()[-3000:]
            with contextlib.suppress(aiohttp.ClientError):
                await self._get("pods")
                return True
            return False

        await eventually(answers, bool, "the kubelet's answer", POD_SECONDS)

    async def stop(self) -> None:
        """End it; pods run on."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        self._process = None

    def put(self, name: str, spec: dict[str, Any], uid: str = "") -> None:
        """Have a pod of this name and spec, or give the one that is there another spec."""
        metadata = {"name": name, "namespace": "e2e"} | ({"uid": uid} if uid else {})
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        unfinished = self.directory / "unfinished"
        unfinished.write_text(json.dumps(pod))
        unfinished.rename(self.manifests / f"{name}.json")

    def take_away(self, name: str) -> None:
        """Have the pod no longer."""
        (self.manifests / f"{name}.json").unlink()

    async def pods(self) -> dict[str, PodStatus]:
        """The statuses of its pods, by the names in their manifests."""
        listed = (await self._get("pods"))["items"] or []
        return {pod["metadata"]["name"].removesuffix(f"-{NAME}"): pod["status"] for pod in listed}

    async def pod(self, name: str, true: Callable[[PodStatus], bool], what: str) -> PodStatus:
        """A pod's status, once something holds for it."""

        async def status() -> PodStatus:
            return (await self.pods()).get(name, {})

        return await eventually(status, true, f"pod {name} {what}", POD_SECONDS)

    async def ready(self, name: str) -> PodStatus:
        """A pod's status, once it is ready."""
        return await self.pod(name, is_ready, "ready")

    async def stats(self, name: str) -> dict[str, Any]:
        """A pod's entry in /stats/summary; empty while there is none."""
        summary = await self._get("stats/summary")
        wanted = f"{name}-{NAME}"
        return next((pod for pod in summary["pods"] or [] if pod["podRef"]["name"] == wanted), {})

    def output(self, name: str, container: str) -> list[str]:
        """The lines that a pod's container has written, in the latest attempt's log."""
        found = sorted(self.logs.glob(f"e2e_{name}-{NAME}_*/{container}/*.log"))
        return [line.split(" ", 3)[3] for line in found[-1].read_text().splitlines()] if found else []

    async def _get(self, path: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._read_only_port}/{path}"
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as answer:
            found: dict[str, Any] = json.loads(await answer.text())
            return found

    def _configuration(self, feature_gates: dict[str, bool]) -> dict[str, Any]:
        endpoint = f"unix://{self._node.server.endpoint}"
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": endpoint,
            "imageServiceEndpoint": endpoint,
            "staticPodPath": str(self.manifests),
            "podLogsDir": str(self.logs),
            "volumePluginDir": str(self.directory / "plugins"),
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "address": "127.0.0.1",
            "port": self._port,
            "readOnlyPort": self._read_only_port,
            "healthzPort": self._health_port,
            "registerNode": False,
            "cgroupRoot": self._node.cgroup_parent,
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "oomScoreAdj": 0,
            "evictionHard": {"memory.available": "1Mi"},
            "fileCheckFrequency": "1s",
            "syncFrequency": "5s",
            "containerLogMaxSize": "20Ki",
            "containerLogMaxFiles": 3,
            "containerLogMonitorInterval": "3s",
            "featureGates": feature_gates,
        }


@contextlib.asynccontextmanager
async def kubelet(node: Node) -> AsyncIterator[Kubelet]:
    """A kubelet that has not been started; at the end its pods are removed and nothing of it stays."""
    home = short_directory("e2e-kubelet")
    await output_of("mount", "--bind", home, home)
    await output_of("mount", "--make-shared", home)
    prepare_cgroups(node.cgroup_parent)
    running = Kubelet(node, home)
    try:
        yield running
    finally:
        await running.stop()
        for pod in (await node.cri.runtime.ListPodSandbox(criv1.ListPodSandboxRequest())).items:
            await node.cri.runtime.StopPodSandbox(criv1.StopPodSandboxRequest(pod_sandbox_id=pod.id))
            await node.cri.runtime.RemovePodSandbox(criv1.RemovePodSandboxRequest(pod_sandbox_id=pod.id))
        remove_pod_cgroups(node.cgroup_parent)
        await output_of("umount", "--recursive", "--lazy", home)
        if "E2E_KEEP" not in os.environ:
            shutil.rmtree(home)


def is_ready(status: PodStatus) -> bool:
    """The condition Ready."""
    conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
    return conditions.get("Ready") == "True"


def prepare_cgroups(parent: str) -> None:
    """The kubelet wants its cgroup root in every hierarchy, and cpuset's filled in."""
    base = Path("/sys/fs/cgroup")
    for hierarchy in [base] if (base / "cgroup.controllers").exists() else base.iterdir():
        top = hierarchy / parent.strip("/")
        top.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if hierarchy.name == "cpuset":
                (top / name).write_text((hierarchy / name).read_text())


def remove_pod_cgroups(parent: str) -> None:
    """Remove the cgroups that the kubelet has made and leaves."""
    for top in Path("/sys/fs/cgroup").glob(f"**/{parent.strip('/')}/kubepods"):
        for directory, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
