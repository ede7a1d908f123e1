"""Sandbox specs as a whole: annotations, sysctls, cgroups, OOM score."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci import globs, oom_score
from cri.oci.cgroups import cgroups_path
from cri.oci.defaults import CAPABILITIES
from cri.oci.handler import RuntimeHandler
from cri.oci.namespaces import NamespacePaths
from cri.oci.settings import OciSettings
from cri.oci.spec import from_json, to_json

PORTS = "net.ipv4.ip_unprivileged_port_start"
PING = "net.ipv4.ping_group_range"


def test_the_process(build_sandbox):
    process = build_sandbox()["process"]
    assert process["args"] == ["/pause"]
    assert process["user"] == {"uid": 65535, "gid": 65535, "additionalGids": [65535]}
    assert process["env"][-1] == "A=1"
    assert process["capabilities"]["bounding"] == list(CAPABILITIES)
    assert process["oomScoreAdj"] == -998


def test_hostname_and_annotations(build_sandbox, pod, handler):
    pod.annotations["team.example/cost"] = "1"
    pod.annotations["other/x"] = "2"
    pod.linux.resources.cpu_quota = 5000
    pod.linux.resources.memory_limit_in_bytes = 1 << 20
    spec = build_sandbox(handler=replace(handler, pod_annotations=("team.example/*",)))
    assert spec["hostname"] == "web-0"
    assert spec["annotations"] == {
        "team.example/cost": "1",
        "io.kubernetes.cri.container-type": "sandbox",
        "io.kubernetes.cri.sandbox-id": "s1",
        "io.kubernetes.cri.sandbox-name": "web-0",
        "io.kubernetes.cri.sandbox-namespace": "default",
        "io.kubernetes.cri.sandbox-uid": "uid",
        "io.kubernetes.cri.sandbox-log-directory": "/var/log/pods/default_web-0_uid",
        "io.kubernetes.cri.podsandbox.image-name": "registry.example/pause:3",
        "io.kubernetes.cri.sandbox-cpu-period": "0",
        "io.kubernetes.cri.sandbox-cpu-quota": "5000",
        "io.kubernetes.cri.sandbox-cpu-shares": "0",
        "io.kubernetes.cri.sandbox-memory": "1048576",
    }


def test_annotations_cannot_be_forged(build_sandbox, pod, handler):
    pod.annotations["io.kubernetes.cri.sandbox-id"] = "other"
    spec = build_sandbox(handler=replace(handler, pod_annotations=("*", "*/*", "io.*")))
    assert spec["annotations"]["io.kubernetes.cri.sandbox-id"] == "s1"


def test_it_is_json(build_sandbox):
    data = to_json(build_sandbox())
    assert json.loads(data) == from_json(data) == build_sandbox()
    assert b", " not in data


class TestSysctls:
    def test_a_pod_with_its_own_namespaces(self, build_sandbox, pod):
        pod.linux.sysctls.update(
            {"kernel.shm_rmid_forced": "1", "net.core.somaxconn": "9", "fs.mqueue.msg_max": "5"}
        )
        assert build_sandbox()["linux"]["sysctl"] == {
            "kernel.shm_rmid_forced": "1",
            "net.core.somaxconn": "9",
            "fs.mqueue.msg_max": "5",
            PORTS: "0",
            PING: "0 2147483647",
        }

    def test_conveniences_yield_to_the_request_and_the_configuration(self, build_sandbox, pod):
        pod.linux.sysctls["net/ipv4/ip_unprivileged_port_start"] = "80"
        assert build_sandbox()["linux"]["sysctl"][PORTS] == "80"
        off = OciSettings(enable_unprivileged_icmp=False, enable_unprivileged_ports=False)
        assert build_sandbox(settings=off)["linux"]["sysctl"] == {PORTS: "80"}

    def test_ping_needs_all_groups_mapped(self, build_sandbox, host):
        assert PING not in build_sandbox(host=replace(host, in_user_namespace=True))["linux"]["sysctl"]

    @pytest.mark.parametrize("name", ["vm.swappiness", "kernel.panic", "kernel.hostname", "netx.a", ""])
    def test_host_wide_ones_are_refused(self, build_sandbox, pod, name):
        pod.linux.sysctls[name] = "1"
        with pytest.raises(InvalidArgument, match=r"config\.linux\.sysctls"):
            build_sandbox()

    @pytest.mark.parametrize(
        ("name", "shared"),
        [("net.core.somaxconn", "network"), ("kernel.sem", "ipc"), ("kernel.domainname", "network")],
    )
    def test_those_of_a_shared_namespace_are_refused(self, build_sandbox, pod, name, shared):
        pod.linux.sysctls[name] = "1"
        build_sandbox()
        setattr(pod.linux.security_context.namespace_options, shared, criv1.NODE)
        with pytest.raises(InvalidArgument, match="shares the host's"):
            build_sandbox(namespaces=NamespacePaths())

    def test_none_on_the_hosts_network(self, build_sandbox, pod):
        pod.linux.security_context.namespace_options.network = criv1.NODE
        assert build_sandbox(namespaces=NamespacePaths())["linux"]["sysctl"] == {}


class TestCgroups:
    CGROUPFS = RuntimeHandler("runc")
    SYSTEMD = RuntimeHandler("runc", systemd_cgroup=True)

    @pytest.mark.parametrize(
        ("parent", "handler", "expected"),
        [
            ("/kubepods/pod1", CGROUPFS, "/kubepods/pod1/c1"),
            ("", CGROUPFS, "/k8s.io/c1"),
            ("", SYSTEMD, "system.slice:cri-containerd:c1"),
            ("/kubepods.slice/kubepods-pod1.slice", SYSTEMD, "kubepods-pod1.slice:cri-containerd:c1"),
            ("kubepods-pod1.slice/", SYSTEMD, "kubepods-pod1.slice:cri-containerd:c1"),
            ("/a.slice", RuntimeHandler("kata", "io.containerd.kata.v2"), "a.slice:cri-containerd:c1"),
        ],
    )
    def test_paths(self, parent, handler, expected):
        assert cgroups_path(parent, "c1", handler, OciSettings()) == expected

    @pytest.mark.parametrize(
        ("parent", "handler"),
        [
            ("/a.slice", CGROUPFS),
            ("/pods", SYSTEMD),
            ("/../x", CGROUPFS),
            ("/a:b", CGROUPFS),
            ("/\0", CGROUPFS),
        ],
    )
    def test_refusals(self, parent, handler):
        with pytest.raises(InvalidArgument, match="cgroup_parent"):
            cgroups_path(parent, "c1", handler, OciSettings())

    def test_the_sandbox_has_the_smallest_share(self, build_sandbox):
        linux = build_sandbox()["linux"]
        assert linux["cgroupsPath"] == "/kubepods/pod1/s1"
        assert linux["resources"]["cpu"] == {"shares": 2}


class TestOomScore:
    def test_values_are_raised_where_they_cannot_be_lowered(
        self, build_sandbox, build_container, config, host
    ):
        weak = replace(host, has_cap_sys_resource=False, own_oom_score_adj=-10)
        assert build_sandbox(host=weak)["process"]["oomScoreAdj"] == -10
        config.linux.resources.oom_score_adj = -500
        assert build_container()["process"]["oomScoreAdj"] == -500
        assert build_container(host=weak)["process"]["oomScoreAdj"] == -10
        restricted = OciSettings(restrict_oom_score_adj=True)
        assert build_container(settings=restricted)["process"]["oomScoreAdj"] == 0

    def test_only_a_surprise_is_worth_a_warning(self, host):
        weak = replace(host, has_cap_sys_resource=False)
        assert oom_score.unexpectedly_limited(weak, OciSettings())
        assert not oom_score.unexpectedly_limited(host, OciSettings())
        assert not oom_score.unexpectedly_limited(weak, OciSettings(restrict_oom_score_adj=True))

    def test_without_resources_it_is_left_alone(self, build_container):
        assert "oomScoreAdj" not in build_container()["process"]

    @pytest.mark.parametrize("value", [-1001, 1001])
    def test_out_of_range(self, build_container, config, value):
        config.linux.resources.oom_score_adj = value
        with pytest.raises(InvalidArgument, match="oom_score_adj"):
            build_container()


class TestGlobs:
    @pytest.mark.parametrize(
        ("pattern", "key", "matches"),
        [
            ("a.b/c", "a.b/c", True),
            ("a.b/c", "aXb/c", False),
            ("a/*", "a/bc", True),
            ("*", "a/b", False),
            ("*/*", "a/b", True),
            ("a?c", "abc", True),
            ("a?c", "a/c", False),
            ("[a-c]x", "bx", True),
            ("[^a-c]x", "bx", False),
            ("[^a-c]x", "dx", True),
            (r"a\*", "a*", True),
            (r"a\*", "ab", False),
            (r"[\]]", "]", True),
            ("[", "[", False),
            ("[]", "]", False),
            ("[b-a]", "a", False),
            ("a\\", "a\\", False),
        ],
    )
    def test_matches(self, pattern, key, matches):
        assert globs.matcher(pattern)(key) is matches

    @given(st.text("ab*?[]^-\\/", max_size=10), st.text("ab/*-", max_size=6))
    def test_no_pattern_breaks_it(self, pattern, key):
        assert globs.matcher(pattern)(key) in (True, False)


@pytest.mark.parametrize("name", ["x" * 65, "a\0b"])
def test_impossible_hostnames(build_sandbox, pod, name):
    pod.hostname = name
    with pytest.raises(InvalidArgument, match=r"config\.hostname"):
        build_sandbox()
