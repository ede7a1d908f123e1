from __future__ import annotations

from dataclasses import replace

import pytest

from cri.errors import InvalidArgument
from cri.network.configuration import Plugin
from cri.network.request import PodRequest, PortMapping
from cri.network.runtime_config import capability_arguments, cni_arguments, runtime_config

POD = PodRequest("abc", None, "web", "prod", "uid-1")


def test_the_kubernetes_arguments() -> None:
    assert dict(cni_arguments(POD)) == {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": "prod",
        "K8S_POD_NAME": "web",
        "K8S_POD_INFRA_CONTAINER_ID": "abc",
        "K8S_POD_UID": "uid-1",
    }


@pytest.mark.parametrize("name", ["a;K8S_POD_NAMESPACE=kube-system", "a=b", "a\nb", "a\x00"])
def test_a_name_cannot_break_out_of_its_argument(name: str) -> None:
    with pytest.raises(InvalidArgument, match="K8S_POD_NAME"):
        cni_arguments(replace(POD, name=name))


def test_all_capabilities_in_the_shapes_of_the_conventions() -> None:
    request = replace(
        POD,
        annotations={
            "kubernetes.io/ingress-bandwidth": "10M",
            "kubernetes.io/egress-bandwidth": "1Mi",
            "a": "b",
        },
        port_mappings=(
            PortMapping(80, 8080),
            PortMapping(53, 5353, "udp", "127.0.0.1"),
            PortMapping(443, 0),
        ),
        dns_servers=("10.0.0.10",),
        dns_searches=("svc",),
        cgroup_parent="/kubepods/pod1",
    )
    assert capability_arguments(request, ("10.0.0.0/24", "fd00::/64")) == {
        "io.kubernetes.cri.pod-annotations": dict(request.annotations),
        "portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
        ],
        "bandwidth": {
            "ingressRate": 10_000_000,
            "ingressBurst": 2**32 - 1,
            "egressRate": 1024**2,
            "egressBurst": 2**32 - 1,
        },
        "dns": {"servers": ["10.0.0.10"], "searches": ["svc"]},
        "cgroupPath": "/kubepods/pod1",
        "ipRanges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]],
    }


def test_a_plain_pod_has_only_its_annotations() -> None:
    assert capability_arguments(POD, ()) == {"io.kubernetes.cri.pod-annotations": {}}


@pytest.mark.parametrize("rate", ["", "fast", "999", "2P", "-1M", "1e30"])
def test_an_unreasonable_bandwidth_is_refused(rate: str) -> None:
    with pytest.raises(InvalidArgument, match=r"kubernetes\.io/egress-bandwidth"):
        capability_arguments(replace(POD, annotations={"kubernetes.io/egress-bandwidth": rate}), ())


@pytest.mark.parametrize(
    "mapping", [PortMapping(80, 65536), PortMapping(80, -1), PortMapping(0, 80), PortMapping(70000, 80)]
)
def test_a_port_out_of_range_is_refused(mapping: PortMapping) -> None:
    with pytest.raises(InvalidArgument, match="port_mappings"):
        capability_arguments(replace(POD, port_mappings=(mapping,)), ())


def test_a_plugin_gets_what_it_declares() -> None:
    plugin = Plugin("portmap", {"type": "portmap"}, frozenset({"portMappings", "mac"}))
    assert runtime_config(plugin, {"portMappings": [], "dns": {}}) == {"portMappings": []}
