"""A kubelet from PATH runs static pods through the server. Debian has no kubelet, so most machines skip this."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.eventually import eventually
from e2e.harness.kubelet import POD_SECONDS, PROGRAM, Kubelet, PodStatus, kubelet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node

pytestmark = [
    pytest.mark.cri_shim_only,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="there is no kubelet on PATH; Debian has none"),
]

MIB = 1 << 20
PLEGS = pytest.mark.parametrize("evented", [False, True], ids=["generic PLEG", "evented PLEG"])
UID = "00000000-1111-2222-3333-444444444444"


@pytest_asyncio.fixture(loop_scope="session")
async def real(node: Node, nothing_left: None) -> AsyncIterator[Kubelet]:
    async with kubelet(node) as running:
        yield running


def container(node: Node, script: str, name: str = "main", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": node.busybox, "command": ["sh", "-c", script]} | more


def until_asked(name: str) -> str:
    return f"trap 'echo {name} ends; exit 0' TERM; while :; do sleep 0.1; done"


def web(node: Node) -> dict[str, Any]:
    """Three kinds of probes and two kinds of hooks."""
    script = "mkdir /www; echo well > /www/healthz; httpd -p 8080 -h /www; touch /ready; " + until_asked(
        "web"
    )
    every_second = {"periodSeconds": 1, "failureThreshold": 30}
    return {
        "terminationGracePeriodSeconds": 5,
        "containers": [
            container(
                node,
                script,
                startupProbe={"tcpSocket": {"port": 8080}} | every_second,
                livenessProbe={"httpGet": {"path": "/healthz", "port": 8080}} | every_second,
                readinessProbe={"exec": {"command": ["cat", "/ready"]}} | every_second,
                lifecycle={
                    "postStart": {"exec": {"command": ["sh", "-c", "echo begun > /proc/1/fd/1"]}},
                    "preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /proc/1/fd/1"]}},
                },
            )
        ],
    }


def stages(node: Node) -> dict[str, Any]:
    """Init containers, a sidecar among them, and volumes that they share."""
    mounts: dict[str, Any] = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    return {
        "terminationGracePeriodSeconds": 5,
        "initContainers": [
            container(node, "echo first > /shared/note", "first", **mounts),
            container(node, until_asked("sidecar"), "sidecar", restartPolicy="Always", **mounts),
            container(node, "test -e /shared/note", "second", **mounts),
        ],
        "containers": [container(node, "cat /shared/note; " + until_asked("main"), **mounts)],
        "volumes": [{"name": "shared", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}],
    }


def state(status: PodStatus, name: str = "main", kind: str = "containerStatuses") -> dict[str, Any]:
    """A container's status; empty while the kubelet has none."""
    found: list[dict[str, Any]] = status.get(kind, [])
    return next((each for each in found if each["name"] == name), {})


def ended(status: PodStatus) -> dict[str, Any]:
    """How a container's latest attempt ended, or the one before."""
    found = state(status)
    return found.get("state", {}).get("terminated") or found.get("lastState", {}).get("terminated") or {}


@PLEGS
async def test_static_pods_of_all_kinds(node: Node, real: Kubelet, *, evented: bool) -> None:
    real.put("web", web(node))
    real.put("stages", stages(node))
    real.put(
        "crashing",
        {
            "containers": [
                container(node, "echo oh; exit 3", terminationMessagePolicy="FallbackToLogsOnError")
            ]
        },
    )
    hungry = container(node, "exec tail -c 100m /dev/zero", resources={"limits": {"memory": "16Mi"}})
    real.put("hungry", {"containers": [hungry]})
    await real.start(EventedPLEG=evented, PodAndContainerStatsFromCRI=True)

    async def written() -> list[str]:
        return real.output("stages", "main")

    await real.ready("web")
    status = await real.ready("stages")
    for name in ("first", "second"):
        assert state(status, name, "initContainerStatuses")["state"]["terminated"]["reason"] == "Completed"
    assert "running" in state(status, "sidecar", "initContainerStatuses")["state"]
    await eventually(written, lambda lines: lines == ["first"], "the note of the first init container")
    crashed = await real.pod("crashing", lambda seen: state(seen).get("restartCount", 0) >= 2, "restarted")
    assert (ended(crashed)["exitCode"], ended(crashed)["message"]) == (3, "oh\n")
    killed = await real.pod("hungry", lambda seen: bool(ended(seen)), "killed")
    assert (ended(killed)["exitCode"], ended(killed)["reason"]) == (137, "OOMKilled")

    async def measured() -> dict[str, Any]:
        return await real.stats("web")

    stats = await eventually(measured, lambda seen: bool(seen.get("containers")), "stats", POD_SECONDS)
    assert stats["network"]["name"] == "eth0"
    assert stats["containers"][0]["memory"]["workingSetBytes"] > 0

    for name in ("web", "stages"):
        real.take_away(name)

    async def there() -> dict[str, PodStatus]:
        return await real.pods()

    await eventually(there, lambda pods: not {"web", "stages"} & pods.keys(), "their end", POD_SECONDS)


async def test_a_pods_end_goes_in_order(node: Node, real: Kubelet) -> None:
    real.put("web", web(node))
    real.put("stages", stages(node))
    await real.start()
    for name in ("web", "stages"):
        await real.ready(name)
    # They are linked, because the kubelet removes the files with the pods.
    held = []
    for number, log in enumerate(real.logs.glob("*/*/0.log")):
        held.append(real.directory / f"{number}.log")
        os.link(log, held[-1])
    for name in ("web", "stages"):
        real.take_away(name)

    async def written() -> str:
        return "".join(log.read_text() for log in held)

    text = await eventually(
        written, lambda seen: "sidecar ends" in seen and "web ends" in seen, "their last words", POD_SECONDS
    )
    moments = {line.split(" ", 3)[3]: line.split()[0] for line in text.splitlines()}
    assert moments["begun"] < moments["stopping"] < moments["web ends"]
    assert moments["main ends"] < moments["sidecar ends"]


@PLEGS
async def test_kubelet_and_server_restart_and_no_pod_notices(
    node: Node, real: Kubelet, *, evented: bool
) -> None:
    real.put("web", web(node))
    real.put("crashing", {"containers": [container(node, "exit 3")]})
    await real.start(EventedPLEG=evented)
    before = state(await real.ready("web"))
    await real.pod("crashing", lambda seen: state(seen).get("restartCount", 0) >= 1, "restarted")
    await node.server.kill()
    await real.stop()
    await node.server.start()
    await real.start(EventedPLEG=evented)
    after = state(await real.ready("web"))
    assert (after["containerID"], after["state"], after["restartCount"]) == (
        *(before["containerID"], before["state"], before["restartCount"]),
    )
    crashes = state((await real.pods())["crashing"])["restartCount"]
    await real.pod("crashing", lambda seen: state(seen)["restartCount"] > crashes, "restarted again")
    assert "AlreadyExists" not in real.log_file.read_text(), "an attempt was asked for twice"


async def test_a_pod_is_resized_where_it_is(node: Node, real: Kubelet) -> None:
    def spec(mebibytes: int) -> dict[str, Any]:
        limits = {"cpu": "100m", "memory": f"{mebibytes}Mi"}
        return {"containers": [container(node, until_asked("main"), resources={"limits": limits})]}

    real.put("resized", spec(32), UID)
    await real.start()
    before = state(await real.ready("resized"))
    real.put("resized", spec(64), UID)

    def grown(status: PodStatus) -> bool:
        limits: dict[str, str] = state(status).get("resources", {}).get("limits", {})
        return limits.get("memory") == "64Mi"

    after = state(await real.pod("resized", grown, "resized"))
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)
    identifier = after["containerID"].removeprefix("containerd://")
    request = criv1.ContainerStatusRequest(container_id=identifier)
    resources = (await node.cri.runtime.ContainerStatus(request)).status.resources
    assert resources.linux.memory_limit_in_bytes == 64 * MIB


async def test_logs_are_rotated(node: Node, real: Kubelet) -> None:
    counting = "number=0; while :; do number=$((number + 1)); echo $number; sleep 0.002; done"
    real.put("writing", {"terminationGracePeriodSeconds": 1, "containers": [container(node, counting)]})
    await real.start()

    async def files() -> list[str]:
        return [path.name for path in real.logs.glob("*/main/*")]

    await eventually(files, lambda names: any(name.endswith(".gz") for name in names), "two rotations", 60)
    begin = real.output("writing", "main")
    await asyncio.sleep(0.5)
    assert real.output("writing", "main") != begin
    assert len(await files()) <= 3
