"""The shipped systemd unit: when the service counts as started, what a restart leaves alone, who watches it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.cgroup import process_of
from e2e.harness.cri import connected
from e2e.harness.eventually import eventually
from e2e.harness.log_lines import joined
from e2e.harness.patience import patiently
from e2e.harness.server import CriShim
from e2e.harness.service import WATCHDOG_SECONDS, Service, served_by_systemd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Workloads

COUNTER = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.5; done"
RESTART_SECONDS = WATCHDOG_SECONDS + patiently(30)

pytestmark = [
    pytest.mark.cri_shim_only,
    pytest.mark.skipif(not Path("/run/systemd/system").is_dir(), reason="systemd does not run this machine"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(node: Node) -> AsyncIterator[Service]:
    async with served_by_systemd(node) as running:
        yield running


async def log_keeper(service: Service) -> int:
    """The process of the unit that is not the server."""
    others = {
        process
        for process in await service.processes()
        if "cri.logs.keeper" in Path(f"/proc/{process}/cmdline").read_text().split("\0")
    }
    assert len(others) == 1, f"log keepers in the unit: {others}"
    return others.pop()


async def has_grown(container: Container) -> None:
    """Wait until more output is on disk."""

    async def size() -> int:
        return container.log_file.stat().st_size

    before = await size()
    await eventually(size, lambda now: now > before, "further output in the log")


async def is_gapless(container: Container) -> None:
    await container.stop()
    numbers = [int(line) for line in joined(await container.settled_log(), "stdout")]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_it_counts_as_started_when_it_serves(service: Service, node: Node) -> None:
    await service.systemctl("restart")
    async with connected(node.server.endpoint) as client:
        await client.runtime.Version(criv1.VersionRequest())
    assert await service.shown("Type") == "notify"
    assert await service.shown("ActiveState") == "active"


async def test_its_restrictions_are_in_force_and_pods_run(service: Service, workloads: Workloads) -> None:
    status = Path(f"/proc/{await service.pid()}/status").read_text()
    assert "NoNewPrivs:\t1\n" in status
    assert "Seccomp:\t2\n" in status
    pod = await workloads.pod(privileged=True, sysctls={"net.core.somaxconn": "500"})
    container = await pod.sleeper()
    assert await container.output_of("cat /proc/sys/net/core/somaxconn") == "500"
    assert await container.output_of("ip -4 addr show eth0 | grep -c inet") == "1"
    security = criv1.LinuxContainerSecurityContext(privileged=True)
    able = await pod.sleeper("able", security=security)
    await able.output_of("mount -t tmpfs none /mnt || mount -t tmpfs none /tmp")


async def test_a_restart_leaves_pods_and_logs_alone(service: Service, workloads: Workloads) -> None:
    container = await (await workloads.pod()).run(command=["sh", "-c", COUNTER])
    server, keeper, process = await service.pid(), await log_keeper(service), await process_of(container)
    await service.systemctl("restart")
    assert await service.pid() != server
    assert await log_keeper(service) == keeper
    assert await process_of(container) == process
    assert await container.output_of("echo alive") == "alive"
    await has_grown(container)
    await is_gapless(container)


async def test_output_is_kept_while_it_is_stopped(service: Service, workloads: Workloads) -> None:
    container = await (await workloads.pod()).run(command=["sh", "-c", COUNTER])
    await service.systemctl("stop")
    await has_grown(container)
    await service.systemctl("start")
    await is_gapless(container)


async def test_reload_takes_a_good_file_over_and_fails_for_a_bad_one(service: Service, node: Node) -> None:
    assert isinstance(node.server, CriShim)
    server = await service.pid()
    try:
        node.server.write_configuration(keys='pinned_images = ["*busybox*"]\n')
        await service.systemctl("reload")
        assert await pinned(node)
        node.server.write_configuration(keys="no_such_key = true\n")
        with pytest.raises(AssertionError, match="reload ended with"):
            await service.systemctl("reload")
        assert await pinned(node), "nothing of a faulty file is in effect"
    finally:
        node.server.write_configuration()
    await service.systemctl("reload")
    assert (await service.shown("ActiveState"), await service.pid()) == ("active", server)


async def pinned(node: Node) -> bool:
    request = criv1.ImageStatusRequest(image=criv1.ImageSpec(image=node.busybox))
    return bool((await node.cri.image.ImageStatus(request)).image.pinned)


async def test_a_server_that_dies_is_started_again(service: Service, workloads: Workloads) -> None:
    container = await (await workloads.pod()).run(command=["sh", "-c", COUNTER])
    server = await service.pid()
    await service.systemctl("kill", "--kill-who=main", "--signal=KILL")
    await started_instead_of(service, server)
    await is_gapless(container)


async def test_a_server_that_hangs_is_ended_by_the_watchdog(service: Service, workloads: Workloads) -> None:
    container = await (await workloads.pod()).run(command=["sh", "-c", COUNTER])
    server = await service.pid()
    await service.systemctl("kill", "--kill-who=main", "--signal=STOP")
    await started_instead_of(service, server)
    await is_gapless(container)


async def started_instead_of(service: Service, old: int) -> None:
    """Wait until another server than `old` has told systemd that it serves."""

    async def state() -> dict[str, str]:
        await asyncio.sleep(patiently(0.1))
        return await service.properties("ActiveState", "MainPID")

    await eventually(
        state,
        lambda seen: seen["ActiveState"] == "active" and seen["MainPID"] != str(old),
        "started again",
        RESTART_SECONDS,
    )
