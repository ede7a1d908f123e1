"""Pods go from containerd's own CRI plugin to cri-shim and back, and never notice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import pytest
import pytest_asyncio

from api.wire import criv1
from cri.app.embedded_remains import mounts_below
from e2e.harness.cri import Cri, connected
from e2e.harness.eventually import eventually
from e2e.harness.log_lines import joined, log_lines
from e2e.harness.settings import SANDBOX_MODE
from e2e.harness.switching import SwitchingNode, switching_node
from e2e.harness.workload import Container

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.cri_shim_only


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def switching() -> AsyncIterator[SwitchingNode]:
    async with switching_node() as running:
        yield running


async def test_it_does_not_serve_beside_the_plugin_unless_told_to(switching: SwitchingNode) -> None:
    with pytest.raises(RuntimeError, match="the server ended with 1") as refused:
        await switching.shim.start()
    log = str(refused.value)
    assert 'disabled_plugins = ["io.containerd.grpc.v1.cri"' in log
    assert "allow_builtin_cri" in log
    assert "Traceback" not in log

    file = switching.shim.configuration_file
    file.write_text(file.read_text().replace("[containerd]\n", "[containerd]\nallow_builtin_cri = true\n"))
    try:
        await switching.shim.start()
        async with connected(switching.shim.endpoint):
            pass
        await switching.shim.stop()
    finally:
        switching.shim.write_configuration()


SERVING = (
    "mkdir -p /tmp/www && echo served > /tmp/www/index.html && (httpd -p 8080 -h /tmp/www); "
    "number=0; while :; do number=$((number + 1)); echo line $number; sleep 0.05; done"
)


class Witness:
    """Asks the pod for its page all the while."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers = 0
        self.faults: list[str] = []

    async def __aenter__(self) -> Self:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._task = self._group.create_task(self._ask())
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._task.cancel()
        await self._group.__aexit__(None, None, None)

    async def _ask(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(self.address, 8080)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                answer = await asyncio.wait_for(reader.read(), 5)
                writer.close()
                assert b"served" in answer, answer
                self.answers += 1
            except (OSError, TimeoutError, AssertionError) as fault:
                self.faults.append(repr(fault))
            await asyncio.sleep(0.1)


def numbers(container: Container) -> list[int]:
    return [int(text.split()[1]) for text in joined(log_lines(container.log_file), "stdout")]


async def grows(container: Container) -> None:
    """The log goes on."""

    async def last() -> int:
        return numbers(container)[-1]

    begin = await last()
    await eventually(last, lambda seen: seen > begin + 5, "more lines in the log", 20)


async def seen(cri: Cri, container: Container) -> tuple[object, ...]:
    """What must stay the same."""
    status = (
        await cri.runtime.ContainerStatus(criv1.ContainerStatusRequest(container_id=container.id))
    ).status
    pod = (
        await cri.runtime.PodSandboxStatus(criv1.PodSandboxStatusRequest(pod_sandbox_id=container.pod.id))
    ).status
    return (
        *(
            status.id,
            status.metadata.name,
            status.state,
            status.created_at,
            status.started_at,
            status.log_path,
        ),
        *(pod.id, pod.metadata.uid, pod.state, pod.network.ip, pod.created_at),
    )


async def test_pods_go_over_and_back_and_never_notice(switching: SwitchingNode) -> None:
    theirs = await switching.served_by_plugin()
    workloads = switching.workloads(theirs)
    pod = await workloads.pod("witness")
    serving = await pod.run("serving", command=["sh", "-c", SERVING])
    failed = await pod.run("failed", command=["sh", "-c", "exit 7"])
    await failed.exited()
    ended_meanwhile = await pod.run(
        "meanwhile", command=["sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 9"]
    )
    waiting = await pod.create("waiting", command=["sh", "-c", "echo started late; sleep 1000"])
    await grows(serving)
    before = await seen(theirs, serving)

    async with Witness(await pod.address()) as witness:
        ours = await switching.served_by_shim()
        assert await seen(ours, serving) == before
        await grows(serving)
        here = switching.seen_by(ours, pod)
        adopted = {
            each.config.metadata.name: Container(ours, here, each.id, each.config)
            for each in (serving, failed, ended_meanwhile, waiting)
        }
        assert (await adopted["failed"].status()).exit_code == 7
        assert (await adopted["waiting"].status()).state == criv1.CONTAINER_CREATED
        assert await adopted["serving"].output_of("cat /tmp/www/index.html") == "served"
        await adopted["waiting"].start()
        await adopted["waiting"].when(lambda status: status.state == criv1.CONTAINER_RUNNING, "RUNNING")
        fresh = await here.sleeper("fresh")
        assert await fresh.output_of("hostname") == "witness"
        assert await fresh.output_of("echo shared > /dev/shm/x; cat /dev/shm/x") == "shared"
        assert await adopted["serving"].output_of("cat /dev/shm/x") == "shared"

        await switching.shim.stop()
        await switching.hand_back()
        back = await switching.served_by_plugin()
        assert await seen(back, serving) == before
        await grows(serving)
        returned = {
            name: Container(back, pod, each.id, each.config)
            for name, each in (adopted | {"fresh": fresh}).items()
        }
        assert (await returned["failed"].status()).exit_code == 7
        assert (await returned["waiting"].status()).state == criv1.CONTAINER_RUNNING
        assert await returned["fresh"].output_of("hostname") == "witness"
        await returned["meanwhile"].output_of("touch /tmp/go")
        assert (await returned["meanwhile"].exited()).exit_code == 9
        again = await switching.seen_by(back, pod).sleeper("again")
        assert await again.output_of("cat /dev/shm/x") == "shared"

        once_more = await switching.served_by_shim()
        assert await seen(once_more, serving) == before
        await grows(serving)
        assert (
            await Container(once_more, pod, ended_meanwhile.id, ended_meanwhile.config).status()
        ).exit_code == 9
    assert witness.answers > 10
    assert witness.faults == []

    lines = numbers(serving)
    assert lines == list(range(1, len(lines) + 1)), "a line was lost, doubled or cut"

    last = switching.seen_by(once_more, pod)
    await last.stop()
    await last.remove()
    assert not (await once_more.runtime.ListContainers(criv1.ListContainersRequest())).containers
    assert mounts_below(switching.home / "node" / "containerd-state") == []


@pytest.mark.skipif(SANDBOX_MODE != "auto", reason="E2E_SANDBOX_MODE gives every pod a pause container")
async def test_pods_without_a_pause_container_get_one_when_they_are_handed_back(
    switching: SwitchingNode,
) -> None:
    ours = await switching.served_by_shim()
    workloads = switching.workloads(ours)
    pods = [await workloads.pod("light"), await workloads.pod("on-host", host_network=True)]
    first, on_host = [await pod.sleeper() for pod in pods]
    await first.output_of("echo shared > /dev/shm/x")
    before = [await seen(ours, each) for each in (first, on_host)]
    namespaces = await first.output_of("cd /proc/self/ns; for name in ipc net uts; do readlink $name; done")
    await switching.shim.stop()
    await switching.hand_back()
    theirs = await switching.served_by_plugin()
    for was, each in zip(before, (first, on_host), strict=True):
        assert await seen(theirs, each) == was
    there = switching.seen_by(theirs, pods[0])
    assert (await there.status()).state == criv1.SANDBOX_READY
    fresh = await there.sleeper("fresh")
    assert await fresh.output_of("hostname; cat /dev/shm/x") == "light\nshared"
    assert (
        await fresh.output_of("cd /proc/self/ns; for name in ipc net uts; do readlink $name; done")
        == namespaces
    )

    again = await switching.served_by_shim()
    assert await seen(again, first) == before[0]
    for pod in pods:
        last = switching.seen_by(again, pod)
        await last.stop()
        await last.remove()
    assert mounts_below(switching.home / "node") == []
