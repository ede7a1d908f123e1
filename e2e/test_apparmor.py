"""AppArmor profiles: the default one, those of the node, none. For kernels that have AppArmor."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from cri.oci.apparmor import DEFAULT_PROFILE
from e2e.harness.cgroup import process_of
from e2e.harness.configured import configured
from e2e.harness.cri import refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
OWN = "e2e-nothing-below-tmp"
OWN_TEXT = f"profile {OWN} flags=(attach_disconnected) {{ file, signal, ptrace, deny /tmp/** w, }}\n"

Security = criv1.LinuxContainerSecurityContext
Profile = criv1.SecurityProfile

pytestmark = [
    pytest.mark.cri_shim_only,
    pytest.mark.skipif(
        not ENABLED.exists() or ENABLED.read_text().strip() != "Y", reason="this kernel has no AppArmor"
    ),
]


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads) -> Pod:
    return await workloads.pod()


@pytest.fixture
def own_profile() -> Iterator[str]:
    """A profile of the node, loaded for a while."""
    subprocess.run(["apparmor_parser", "--replace"], input=OWN_TEXT, text=True, check=True)
    yield OWN
    subprocess.run(["apparmor_parser", "--remove"], input=OWN_TEXT, text=True, check=True)


async def confinement(container: Container) -> str:
    """The profile of the container's first process, as the host sees it."""
    return Path(f"/proc/{await process_of(container)}/attr/current").read_text().strip()


async def test_the_default_profile_is_loaded_and_confines(pod: Pod) -> None:
    for number, security in enumerate(
        (Security(), Security(apparmor=Profile(profile_type=Profile.RuntimeDefault)))
    ):
        container = await pod.sleeper(f"default-{number}", security=security)
        assert await confinement(container) == f"{DEFAULT_PROFILE} (enforce)"
        for forbidden in ("echo 1 > /proc/sys/kernel/panic", "mount -t tmpfs none /tmp", "cat /proc/kcore"):
            assert (await container.execute("sh", "-c", forbidden)).exit_code != 0, forbidden
        await container.output_of("touch /tmp/file && kill -0 1 && ls /proc/1")


async def test_stopping_a_confined_container(pod: Pod) -> None:
    container = await pod.sleeper()
    await container.stop(grace_seconds=20)
    assert (await container.status()).exit_code == 0, "the runtime's signal got through"


async def test_a_profile_of_the_node(pod: Pod, own_profile: str) -> None:
    asked = Profile(profile_type=Profile.Localhost, localhost_ref=own_profile)
    for number, security in enumerate(
        (Security(apparmor=asked), Security(apparmor_profile=f"localhost/{OWN}"))
    ):
        container = await pod.sleeper(f"own-{number}", security=security)
        assert (await confinement(container)).startswith(own_profile)
        assert (await container.execute("touch", "/tmp/file")).exit_code != 0


async def test_a_profile_that_is_not_loaded_is_refused(pod: Pod) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await pod.create(
            security=Security(apparmor=Profile(profile_type=Profile.Localhost, localhost_ref="none-such"))
        )
    assert "none-such" in str(error[0].details())


async def test_unconfined_and_privileged(pod: Pod, workloads: Workloads) -> None:
    unconfined = await pod.sleeper(security=Security(apparmor=Profile(profile_type=Profile.Unconfined)))
    assert await confinement(unconfined) == "unconfined"
    privileged = await workloads.pod("privileged", privileged=True)
    container = await privileged.sleeper(security=Security(privileged=True))
    assert await confinement(container) == "unconfined"


async def test_it_can_be_switched_off(workloads: Workloads, node: Node) -> None:
    async with configured(node, keys="disable_apparmor = true\n"):
        pod = await workloads.pod("off")
        assert await confinement(await pod.sleeper()) == "unconfined"
        asked = Security(apparmor=Profile(profile_type=Profile.RuntimeDefault))
        async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
            await pod.create("other", security=asked)
        assert "disable_apparmor" in str(error[0].details())
