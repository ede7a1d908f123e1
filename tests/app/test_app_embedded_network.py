"""The pod network of an embedded containerd: its subnet, its configuration, and what is removed of it."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.app.embedded_layout import EmbeddedLayout, embedded_layout
from cri.app.embedded_network import (
    NEEDED_PLUGINS,
    POOL,
    choose_network,
    configured_subnet,
    host_routes,
    plugin_directories,
    removal_of_rules,
    removal_of_shared_chains,
    write_network,
)
from cri.errors import FailedPrecondition

RULES = r"""*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-0001 - [0:0]
:CNI-0002 - [0:0]
:CNI-DN-0001 - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A POSTROUTING -s 10.64.0.2/32 -m comment --comment "name: \"ours\" id: \"a\"" -j CNI-0001
-A POSTROUTING -s 10.99.0.2/32 -m comment --comment "name: \"theirs\" id: \"b\"" -j CNI-0002
-A CNI-0001 -d 10.64.0.0/24 -m comment --comment "name: \"ours\" id: \"a\"" -j ACCEPT
-A CNI-0002 -d 10.99.0.0/24 -m comment --comment "name: \"theirs\" id: \"b\"" -j ACCEPT
-A CNI-DN-0001 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.64.0.2:80
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"ours\" id: \"a\"" -j CNI-DN-0001
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
COMMIT
"""


@pytest.fixture
def layout(tmp_path: Path) -> EmbeddedLayout:
    return embedded_layout(tmp_path)


@given(
    st.lists(st.integers(0, (1 << 24) - 1).map(lambda low: IPv4Network(((10 << 24) | low, 32)).supernet(6)))
)
def test_the_subnet_is_clear_of_every_route(routes: list[IPv4Network]) -> None:
    network = choose_network(embedded_layout(Path("/srv/pods")), routes)
    assert network.subnet.subnet_of(POOL)  # type: ignore[arg-type]
    assert not any(network.subnet.overlaps(route) for route in routes)


def test_a_default_route_takes_nothing(layout: EmbeddedLayout) -> None:
    choose_network(layout, [IPv4Network("0.0.0.0/0")])


def test_a_host_without_a_free_subnet_is_refused(layout: EmbeddedLayout) -> None:
    with pytest.raises(FailedPrecondition, match="no free"):
        choose_network(layout, [IPv4Network("10.0.0.0/8")])


def test_the_subnet_stays_when_it_can(layout: EmbeddedLayout) -> None:
    assert configured_subnet(layout) is None
    first = choose_network(layout, [])
    write_network(layout, first)
    assert choose_network(layout, [IPv4Network("192.0.2.0/24")]) == first
    assert choose_network(layout, [first.subnet]).subnet != first.subnet


def test_the_configuration_is_a_cni_list(layout: EmbeddedLayout) -> None:
    network = choose_network(layout, [])
    write_network(layout, network)
    document = json.loads(layout.cni_conf_file.read_text())
    assert document["name"] == network.name
    assert [plugin["type"] for plugin in document["plugins"]] == ["bridge", "portmap"]
    assert document["plugins"][0]["ipam"]["dataDir"] == str(layout.reservations)
    assert len(network.bridge) <= 15, "the kernel's limit for interface names"
    assert [file.name for file in layout.cni_conf_dir.iterdir()] == [layout.cni_conf_file.name]


def test_routes_are_read_from_the_kernels_table(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "ours\t0000400A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    assert host_routes("ours", table) == [IPv4Network("0.0.0.0/0"), IPv4Network("192.0.2.0/24")]


def test_only_rules_of_the_network_are_removed() -> None:
    assert removal_of_rules(RULES, "ours") == [
        r'-D POSTROUTING -s 10.64.0.2/32 -m comment --comment "name: \"ours\" id: \"a\"" -j CNI-0001',
        r'-D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"ours\" id: \"a\"" -j CNI-DN-0001',
        "-F CNI-0001",
        "-F CNI-DN-0001",
        "-X CNI-0001",
        "-X CNI-DN-0001",
    ]
    assert removal_of_rules(RULES, "nobody's") == []


def test_shared_chains_go_only_when_no_pod_uses_them() -> None:
    assert removal_of_shared_chains(RULES) == []
    unused = "\n".join(line for line in RULES.splitlines() if not line.startswith("-A CNI-HOSTPORT-DNAT"))
    [text] = removal_of_shared_chains(unused)
    assert text.splitlines() == [
        "*nat",
        "-D PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
        '-D POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ',
        "-F CNI-HOSTPORT-SETMARK",
        "-F CNI-HOSTPORT-MASQ",
        "-X CNI-HOSTPORT-DNAT",
        "-X CNI-HOSTPORT-SETMARK",
        "-X CNI-HOSTPORT-MASQ",
        "COMMIT",
    ]


def test_missing_plugins_are_named_with_their_package(tmp_path: Path) -> None:
    for plugin in NEEDED_PLUGINS[1:]:
        (tmp_path / plugin).touch()
    with pytest.raises(FailedPrecondition, match=f"{NEEDED_PLUGINS[0]}.*containernetworking-plugins"):
        plugin_directories([str(tmp_path), "/no/such/directory"])
    (tmp_path / NEEDED_PLUGINS[0]).touch()
    assert plugin_directories([str(tmp_path), "/no/such/directory"]) == (str(tmp_path),)
