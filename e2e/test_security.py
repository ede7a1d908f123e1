"""Privileges as the kernel shows them from inside: identity, capabilities, seccomp, namespaces, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from api.wire import criv1
from e2e.harness.cgroup import cgroup_version, process_of
from e2e.harness.configured import configured
from e2e.harness.cri import OWN_PID_NAMESPACE, refused

if TYPE_CHECKING:
    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

Security = criv1.LinuxContainerSecurityContext
Profile = criv1.SecurityProfile

pytestmark = pytest.mark.cri_shim_only

APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
SELINUX = Path("/sys/fs/selinux/enforce")
FILTERED = "2"
"""`Seccomp:` of proc(5) for a process under a filter."""


@pytest_asyncio.fixture(loop_scope="session")
async def pod(workloads: Workloads) -> Pod:
    return await workloads.pod()


@pytest_asyncio.fixture(loop_scope="session")
async def privileged_pod(workloads: Workloads) -> Pod:
    return await workloads.pod("privileged", privileged=True)


def user(number: int) -> criv1.Int64Value:
    return criv1.Int64Value(value=number)


async def proc_status(container: Container, key: str) -> str:
    """A line of the first process's /proc/PID/status, seen from the host."""
    lines = Path(f"/proc/{await process_of(container)}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{key}:"))


def bit(mask: str, number: int) -> bool:
    return bool(int(mask, 16) >> number & 1)


async def test_groups_of_the_image_count_only_with_policy_merge(pod: Pod) -> None:
    """User 1000 is a member of group 50000 in the image's /etc/group."""
    merge = await pod.sleeper("merge", security=Security(run_as_user=user(1000), supplemental_groups=[1234]))
    strict = await pod.sleeper(
        "strict",
        security=Security(
            run_as_user=user(1000), supplemental_groups=[1234], supplemental_groups_policy=criv1.Strict
        ),
    )
    assert await merge.output_of("id -G") == "1000 1234 50000"
    assert await strict.output_of("id -G") == "1000 1234"
    for container, groups in ((merge, [1000, 1234, 50000]), (strict, [1000, 1234])):
        told = (await container.status()).user.linux
        assert (told.uid, told.gid, list(told.supplemental_groups)) == (1000, 1000, groups)


async def test_an_unknown_user_name_is_refused(pod: Pod) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await pod.create(security=Security(run_as_username="nobody-knows"))
    assert "nobody-knows" in str(error[0].details())


@pytest.mark.parametrize(
    ("change", "holds", "lacks"),
    [
        ({}, {"CHOWN": 0, "NET_RAW": 13}, {"NET_ADMIN": 12, "SYS_ADMIN": 21}),
        (
            {"add_capabilities": ["net_admin"], "drop_capabilities": ["CAP_CHOWN"]},
            {"NET_ADMIN": 12},
            {"CHOWN": 0},
        ),
        (
            {"drop_capabilities": ["ALL"], "add_capabilities": ["KILL"]},
            {"KILL": 5},
            {"CHOWN": 0, "NET_RAW": 13},
        ),
        (
            {"add_capabilities": ["ALL"], "drop_capabilities": ["SYS_TIME"]},
            {"SYS_ADMIN": 21},
            {"SYS_TIME": 25},
        ),
    ],
    ids=["default", "one each", "drop all", "add all"],
)
async def test_capabilities_of_the_process(
    pod: Pod, change: dict[str, list[str]], holds: dict[str, int], lacks: dict[str, int]
) -> None:
    container = await pod.sleeper(security=Security(capabilities=criv1.Capability(**change)))  # type: ignore[arg-type]
    for kind in ("CapEff", "CapPrm", "CapBnd"):
        mask = await proc_status(container, kind)
        assert all(bit(mask, number) for number in holds.values()), f"{kind} {mask} has {holds}"
        assert not any(bit(mask, number) for number in lacks.values()), f"{kind} {mask} has none of {lacks}"


async def test_ambient_capabilities_reach_a_user_who_is_not_root(pod: Pod) -> None:
    capabilities = criv1.Capability(add_ambient_capabilities=["NET_BIND_SERVICE"])
    container = await pod.sleeper(security=Security(run_as_user=user(1000), capabilities=capabilities))
    assert bit(await proc_status(container, "CapAmb"), 10)
    assert bit(await proc_status(container, "CapEff"), 10)


async def test_an_unknown_capability_is_named(pod: Pod) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await pod.create(security=Security(capabilities=criv1.Capability(add_capabilities=["FLY"])))
    assert "FLY" in str(error[0].details())


@pytest.mark.parametrize("wanted", [True, False])
async def test_no_new_privileges(pod: Pod, wanted: bool) -> None:
    container = await pod.sleeper(security=Security(no_new_privs=wanted))
    assert await proc_status(container, "NoNewPrivs") == str(int(wanted))


async def test_seccomp_runtime_default_refuses_what_it_must(pod: Pod) -> None:
    profile = Profile(profile_type=Profile.RuntimeDefault)
    container = await pod.sleeper(security=Security(seccomp=profile))
    assert await proc_status(container, "Seccomp") == FILTERED
    refusal = await container.execute("unshare", "-U", "true")
    assert refusal.exit_code != 0, "a user namespace is a way round other limits"


async def test_seccomp_unconfined_and_unset(pod: Pod) -> None:
    for number, security in enumerate(
        (Security(seccomp=Profile(profile_type=Profile.Unconfined)), Security())
    ):
        container = await pod.sleeper(f"free-{number}", security=security)
        assert await proc_status(container, "Seccomp") == "0"


async def test_seccomp_for_containers_that_ask_for_none_can_be_configured(
    workloads: Workloads, node: Node
) -> None:
    async with configured(node, keys='unset_seccomp_profile = "runtime/default"\n'):
        pod = await workloads.pod("seccomp")
        asked_nothing = await pod.sleeper("nothing")
        unconfined = await pod.sleeper(
            "unconfined", security=Security(seccomp=Profile(profile_type=Profile.Unconfined))
        )
        assert await proc_status(asked_nothing, "Seccomp") == FILTERED
        assert await proc_status(unconfined, "Seccomp") == "0"


async def test_a_seccomp_profile_of_the_node(pod: Pod, tmp_path: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO"}],
    }
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    for number, reference in enumerate(
        (str(tmp_path / "profile.json"), f"localhost/{tmp_path}/profile.json")
    ):
        asked = Profile(profile_type=Profile.Localhost, localhost_ref=reference)
        container = await pod.sleeper(f"no-chmod-{number}", security=Security(seccomp=asked))
        refusal = await container.execute("chmod", "700", "/tmp")
        assert b"not permitted" in refusal.stderr


@pytest.mark.parametrize("content", [None, "no JSON", '{"defaultAction": "SCMP_ACT_WHATEVER"}'])
async def test_a_seccomp_profile_that_cannot_be_used_is_named(
    pod: Pod, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "profile.json").write_text(content)
    asked = Profile(profile_type=Profile.Localhost, localhost_ref=str(tmp_path / "profile.json"))
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
        await pod.create(security=Security(seccomp=asked))
    assert "profile.json" in str(error[0].details()) or "defaultAction" in str(error[0].details())


@pytest.mark.skipif(APPARMOR.exists(), reason="for kernels without AppArmor")
async def test_without_apparmor_only_unconfined_can_be_asked_for(pod: Pod) -> None:
    unconfined = Security(apparmor=Profile(profile_type=Profile.Unconfined))
    await pod.sleeper("unconfined", security=unconfined)
    for asked in (
        Security(apparmor=Profile(profile_type=Profile.Localhost, localhost_ref="a-profile")),
        Security(apparmor_profile="localhost/a-profile"),
    ):
        async with refused(grpc.StatusCode.INVALID_ARGUMENT) as error:
            await pod.create(security=asked)
        assert "AppArmor" in str(error[0].details())


@pytest.mark.skipif(SELINUX.exists(), reason="for kernels without SELinux")
async def test_without_selinux_labels_change_nothing(pod: Pod, tmp_path: Path) -> None:
    options = criv1.SELinuxOption(level="s0:c1,c2", type="container_t")
    mount = criv1.Mount(container_path="/data", host_path=str(tmp_path), selinux_relabel=True)
    container = await pod.sleeper(security=Security(selinux_options=options), mounts=[mount])
    await container.output_of("touch /data/file")


async def test_privileged_containers_have_everything(privileged_pod: Pod) -> None:
    container = await privileged_pod.sleeper(security=Security(privileged=True))
    own = next(
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line
    )
    assert int(await proc_status(container, "CapEff"), 16) == int(own, 16)
    assert await proc_status(container, "Seccomp") == "0"
    inside = set((await container.output_of("ls /dev")).split())
    assert {"loop-control"} & {path.name for path in Path("/dev").iterdir()} <= inside
    options = await container.output_of("cut -d' ' -f5,6 /proc/self/mountinfo")
    mounted = dict(line.split() for line in options.splitlines())
    assert "rw" in mounted["/sys"].split(",")
    cgroups = [where for where in mounted if where.startswith("/sys/fs/cgroup/")] or ["/sys/fs/cgroup"]
    assert all("rw" in mounted[where].split(",") for where in cgroups)
    masked = await container.output_of("cut -d' ' -f5 /proc/self/mountinfo")
    assert "/proc/kcore" not in masked.splitlines()


@pytest.mark.skipif(cgroup_version() == 1, reason="for the unified tree, which is one for the whole machine")
async def test_privileged_containers_leave_the_hosts_cgroup_options_alone(privileged_pod: Pod) -> None:
    before = unified_options()
    await privileged_pod.sleeper(security=Security(privileged=True))
    assert unified_options() == before


def unified_options() -> set[str]:
    """The options of the file system at /sys/fs/cgroup."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return next(set(fields[-1].split(",")) for fields in lines if fields[4] == "/sys/fs/cgroup")


async def test_other_containers_have_a_read_only_kernel(pod: Pod) -> None:
    paths = ["/proc/kcore", "/proc/keys"]
    security = Security(masked_paths=paths, readonly_paths=["/proc/sys"], namespace_options=OWN_PID_NAMESPACE)
    container = await pod.sleeper(security=security)
    assert (await container.execute("sh", "-c", "echo 1 > /proc/sys/kernel/panic")).exit_code != 0
    hierarchy = "/sys/fs/cgroup/memory" if cgroup_version() == 1 else "/sys/fs/cgroup"
    assert (await container.execute("mkdir", f"{hierarchy}/own")).exit_code != 0
    assert await container.output_of("head -c1 /proc/keys | wc -c") == "0"


async def test_privileged_without_host_devices(workloads: Workloads, node: Node) -> None:
    table = """
[containerd.runtimes.bare]
runtime_type = "io.containerd.runc.v2"
privileged_without_host_devices = true
"""
    async with configured(node, tables=table):
        pod = await workloads.pod("bare", "bare", privileged=True)
        container = await pod.sleeper(security=Security(privileged=True))
        assert "loop-control" not in (await container.output_of("ls /dev")).split()


async def test_a_target_container_shares_its_processes(pod: Pod) -> None:
    target = await pod.sleeper("target")
    options = criv1.NamespaceOption(pid=criv1.TARGET, target_id=target.id)
    container = await pod.sleeper("debugger", security=Security(namespace_options=options))
    mine, theirs = [await process_of(each) for each in (container, target)]
    assert Path(f"/proc/{mine}/ns/pid").readlink() == Path(f"/proc/{theirs}/ns/pid").readlink()
    for bad in ("no-such-container", container.id[::-1]):
        wrong = criv1.NamespaceOption(pid=criv1.TARGET, target_id=bad)
        async with refused(grpc.StatusCode.INVALID_ARGUMENT):
            await pod.create("other", security=Security(namespace_options=wrong))


async def test_a_namespace_of_the_host_needs_a_pod_that_shares_it(pod: Pod) -> None:
    for options in (criv1.NamespaceOption(network=criv1.NODE), criv1.NamespaceOption(ipc=criv1.NODE)):
        async with refused(grpc.StatusCode.INVALID_ARGUMENT):
            await pod.create(security=Security(namespace_options=options))


@pytest.mark.skipif(cgroup_version() == 1, reason="on version 1 the hierarchy of the host is shown")
async def test_a_cgroup_namespace_on_version_2(pod: Pod) -> None:
    container = await pod.sleeper()
    assert await container.output_of("cat /proc/self/cgroup") == "0::/"


async def test_the_oom_score_of_containers_and_sandbox(pod: Pod) -> None:
    container = await pod.sleeper(resources=criv1.LinuxContainerResources(oom_score_adj=700))
    assert await container.output_of("cat /proc/1/oom_score_adj") == "700"
    async with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await pod.create("other", resources=criv1.LinuxContainerResources(oom_score_adj=1001))
