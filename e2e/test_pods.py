from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire import criv1

if TYPE_CHECKING:
    from e2e.harness.workload import Workloads


async def test_a_pod_is_ready_with_an_address_and_gone_when_removed(workloads: Workloads) -> None:
    pod = await workloads.pod("web")
    status = await pod.status()
    assert status.state == criv1.SANDBOX_READY
    assert status.network.ip
    await pod.stop()
    assert (await pod.status()).state == criv1.SANDBOX_NOTREADY
