"""Limits to the spec, merged, and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci.cgroup_files import cgroup_files, cpu_weight, with_overhead
from cri.oci.cgroups import kept_by_kubelet, pod_cgroup
from cri.oci.host import HostFacts
from cri.oci.resources import container_resources, to_status, updated_spec
from cri.oci.settings import OciSettings

V1 = HostFacts(1, (), (), "x86_64", (6, 1), swap=True)
V2 = replace(V1, cgroup_version=2)
HUGE = replace(V1, hugetlb=True, hugepage_sizes=("2MB", "1GB"))
SETTINGS = OciSettings()
WITH_HUGE = OciSettings(disable_hugetlb_controller=False, tolerate_missing_hugetlb_controller=False)


def limits(**fields):
    return criv1.LinuxContainerResources(**fields)


def converted(request, base=None, host=V1, settings=SETTINGS):
    return container_resources(request, base or {}, host, settings)


def test_nothing_asked_changes_nothing():
    base = {"devices": [{"allow": False, "access": "rwm"}]}
    assert converted(limits(), base) == base


def test_cpu_and_memory():
    request = limits(
        cpu_period=100000,
        cpu_quota=-1,
        cpu_shares=512,
        cpuset_cpus="0-1,3",
        cpuset_mems="0",
        memory_limit_in_bytes=1 << 20,
    )
    assert converted(request) == {
        "cpu": {"period": 100000, "quota": -1, "shares": 512, "cpus": "0-1,3", "mems": "0"},
        "memory": {"limit": 1 << 20, "swap": 1 << 20},
    }


def test_swap_follows_the_limit_only_where_it_is_accounted():
    request = limits(memory_limit_in_bytes=5)
    assert converted(request, host=replace(V1, swap=False)) == {"memory": {"limit": 5}}
    request.memory_swap_limit_in_bytes = 9
    assert converted(request) == {"memory": {"limit": 5, "swap": 9}}
    request.memory_swap_limit_in_bytes = -1
    assert converted(request)["memory"]["swap"] == -1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cpu_shares": 1}, "cpu_shares"),
        ({"cpu_shares": -5}, "cpu_shares"),
        ({"cpu_shares": 262145}, "cpu_shares"),
        ({"cpu_period": 999}, "cpu_period"),
        ({"cpu_period": 1000001}, "cpu_period"),
        ({"cpu_quota": 5}, "cpu_quota"),
        ({"cpu_quota": -2}, "cpu_quota"),
        ({"cpuset_cpus": "a"}, "cpuset_cpus"),
        ({"cpuset_cpus": "3-1"}, "cpuset_cpus"),
        ({"cpuset_cpus": "1,"}, "cpuset_cpus"),
        ({"cpuset_mems": "7"}, "cpuset_mems"),
        ({"memory_limit_in_bytes": -2}, "memory_limit_in_bytes"),
        ({"memory_swap_limit_in_bytes": 5}, "memory_swap_limit_in_bytes"),
        ({"memory_limit_in_bytes": 6, "memory_swap_limit_in_bytes": 5}, "memory_swap_limit_in_bytes"),
        ({"unified": {"memory.high": "1"}}, "cgroup v1"),
    ],
)
def test_values_that_the_kernel_would_refuse(fields, named):
    with pytest.raises(InvalidArgument, match=named):
        converted(limits(**fields), host=replace(V1, cpus=frozenset(range(4)), memory_nodes=frozenset({0})))


def test_unified_files_on_v2():
    assert converted(limits(unified={"memory.high": "9"}), {"unified": {"io.weight": "5"}}, V2) == {
        "unified": {"io.weight": "5", "memory.high": "9"}
    }
    for key in ("../x", "memory", "a/b.c", ""):
        with pytest.raises(InvalidArgument, match="unified"):
            converted(limits(unified={key: "1"}), host=V2)


def pages(**by_size):
    request = limits()
    for size, limit in by_size.items():
        request.hugepage_limits.add(page_size=size[1:], limit=limit)
    return request


def test_huge_pages_replace_by_size():
    base = {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 2}]}
    assert converted(pages(_2MB=7), base, HUGE, WITH_HUGE)["hugepageLimits"] == [
        {"pageSize": "2MB", "limit": 7},
        {"pageSize": "1GB", "limit": 2},
    ]
    with pytest.raises(InvalidArgument, match="2MB, 1GB"):
        converted(pages(_3MB=7), host=HUGE, settings=WITH_HUGE)


def test_huge_pages_without_a_controller():
    with pytest.raises(InvalidArgument, match="tolerate_missing_hugetlb_controller"):
        converted(pages(_2MB=1), settings=WITH_HUGE)
    tolerant = replace(WITH_HUGE, tolerate_missing_hugetlb_controller=True)
    assert converted(pages(_2MB=1), settings=tolerant) == {}
    assert converted(pages(_2MB=1), host=HUGE) == {}, "the controller is disabled by default"


def test_an_update_leaves_the_old_spec_for_the_way_back(build_container, config):
    config.linux.resources.memory_limit_in_bytes = 100
    spec = build_container()
    before = to_status(spec)
    updated = updated_spec(spec, limits(memory_limit_in_bytes=200, cpu_shares=5), V1, SETTINGS)
    assert to_status(spec) == before
    status = to_status(updated).linux
    assert (status.memory_limit_in_bytes, status.memory_swap_limit_in_bytes, status.cpu_shares) == (
        200,
        200,
        5,
    )
    assert updated["linux"]["resources"]["devices"] == spec["linux"]["resources"]["devices"]
    assert updated["linux"]["namespaces"] == spec["linux"]["namespaces"]


def test_an_update_of_swap_is_held_against_the_limit_in_force(build_container, config):
    config.linux.resources.memory_limit_in_bytes = 100
    with pytest.raises(InvalidArgument, match="memory_swap_limit"):
        updated_spec(build_container(), limits(memory_swap_limit_in_bytes=50), V1, SETTINGS)


valid = st.builds(
    limits,
    cpu_period=st.just(0) | st.integers(1000, 1000000),
    cpu_quota=st.just(0) | st.just(-1) | st.integers(1000, 1 << 40),
    cpu_shares=st.just(0) | st.integers(2, 262144),
    cpuset_cpus=st.sampled_from(["", "0", "0-3", "0,2"]),
    memory_limit_in_bytes=st.just(0) | st.just(-1) | st.integers(1, 1 << 50),
    unified=st.dictionaries(st.sampled_from(["memory.high", "cpu.idle"]), st.text(max_size=3), max_size=2),
)


@given(valid, valid)
def test_what_was_asked_last_is_what_the_status_tells(first, second):
    spec = {"linux": {"resources": converted(first, host=V2)}}
    status = to_status(updated_spec(spec, second, V2, SETTINGS)).linux
    for field in ("cpu_period", "cpu_quota", "cpu_shares", "cpuset_cpus", "memory_limit_in_bytes"):
        assert getattr(status, field) == (getattr(second, field) or getattr(first, field)), field
    assert dict(status.unified) == dict(first.unified) | dict(second.unified)


@given(
    st.builds(
        limits,
        cpu_period=st.integers(-(2**63), 2**63 - 1),
        cpu_quota=st.integers(-(2**63), 2**63 - 1),
        cpu_shares=st.integers(-(2**63), 2**63 - 1),
        cpuset_cpus=st.text(max_size=8),
        memory_limit_in_bytes=st.integers(-(2**63), 2**63 - 1),
        memory_swap_limit_in_bytes=st.integers(-(2**63), 2**63 - 1),
    )
)
def test_any_numbers_are_taken_or_refused(request_):
    try:
        converted(request_)
    except InvalidArgument as refused:
        assert refused.message.startswith("linux.resources.")  # noqa: PT017


class TestCgroupFiles:
    def files(self, host, **fields):
        return {(file.controller, file.name): file.value for file in cgroup_files(limits(**fields), host)}

    def test_v1(self):
        asked = {
            "cpu_shares": 512,
            "cpu_quota": -1,
            "cpu_period": 50000,
            "cpuset_cpus": "0",
            "memory_limit_in_bytes": 5,
            "memory_swap_limit_in_bytes": 9,
        }
        assert self.files(V1, **asked) == {
            ("cpu", "cpu.shares"): "512",
            ("cpu", "cpu.cfs_period_us"): "50000",
            ("cpu", "cpu.cfs_quota_us"): "-1",
            ("cpuset", "cpuset.cpus"): "0",
            ("memory", "memory.limit_in_bytes"): "5",
            ("memory", "memory.memsw.limit_in_bytes"): "9",
        }

    def test_v2(self):
        asked = {
            "cpu_shares": 1024,
            "cpu_quota": 20000,
            "memory_limit_in_bytes": 5,
            "memory_swap_limit_in_bytes": 9,
            "unified": {"memory.high": "3"},
        }
        assert self.files(V2, **asked) == {
            ("", "cpu.weight"): "39",
            ("", "cpu.max"): "20000 100000",
            ("", "memory.max"): "5",
            ("", "memory.swap.max"): "4",
            ("", "memory.high"): "3",
        }
        unlimited = {"cpu_quota": -1, "cpu_period": 5000, "memory_limit_in_bytes": -1}
        assert self.files(V2, **unlimited) == {("", "cpu.max"): "max 5000", ("", "memory.max"): "max"}

    def test_nothing_asked_writes_nothing(self):
        assert self.files(V1) == self.files(V2) == {}

    @given(st.integers(0, 2**40), st.integers(0, 2**40))
    def test_weights_keep_the_order_of_shares(self, one, other):
        low, high = sorted((one, other))
        assert 1 <= cpu_weight(low) <= cpu_weight(high) <= 10000


def test_a_pods_cgroup_has_room_for_the_overhead():
    resources = criv1.LinuxContainerResources(
        cpu_shares=512,
        cpu_quota=50_000,
        cpu_period=100_000,
        memory_limit_in_bytes=100,
        memory_swap_limit_in_bytes=-1,
    )
    overhead = criv1.LinuxContainerResources(
        cpu_shares=100, cpu_quota=5_000, cpu_period=50_000, memory_limit_in_bytes=28
    )
    total = with_overhead(resources, overhead)
    assert (total.cpu_shares, total.cpu_quota, total.memory_limit_in_bytes) == (612, 60_000, 128)
    assert total.memory_swap_limit_in_bytes == -1, "unlimited stays unlimited"
    unlimited = with_overhead(criv1.LinuxContainerResources(cpu_quota=-1), overhead)
    assert (unlimited.cpu_shares, unlimited.cpu_quota, unlimited.memory_limit_in_bytes) == (0, -1, 0)


@pytest.mark.parametrize(
    ("parent", "path"),
    [
        ("", ""),
        ("/", ""),
        ("kubepods/burstable/pod1", "/kubepods/burstable/pod1"),
        ("/kubepods/pod1/", "/kubepods/pod1"),
        ("system.slice", "/system.slice"),
        (
            "kubepods-burstable-pod1_2.slice",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice",
        ),
        ("/kubepods.slice/kubepods-pod1.slice", "/kubepods.slice/kubepods-pod1.slice"),
    ],
)
def test_where_a_pods_cgroup_lies(parent: str, path: str):
    assert pod_cgroup(parent) == path


def test_cgroups_of_the_kubelet_are_known_by_name():
    assert kept_by_kubelet("/kubepods/burstable/pod1")
    assert kept_by_kubelet("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice")
    assert kept_by_kubelet("/root/kubepods/pod1")
    assert not kept_by_kubelet("/e2e/pod1")
    assert not kept_by_kubelet("/kubepodslike/pod1")
