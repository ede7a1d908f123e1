"""Traffic from /proc/net/dev, and which interface is the pod's own."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from cri.stats.network import default_interface, network_use, parse_interfaces
from cri.stats.usage import InterfaceUse

DEV = b"""Inter-|   Receive                                            |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0 0
  eth0: 1048576     800    1    2    0     0          0         0   524288     400    3    4    0     0       0 0
net1.5:       7       1    0    0    0     0          0         0        9       1    0    0    0     0       0 0
"""
ROUTES = b"""Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
net1.5\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
"""


def test_interfaces_without_loopback():
    assert parse_interfaces(DEV) == (
        InterfaceUse("eth0", 1048576, 800, 1, 2, 524288, 400, 3, 4),
        InterfaceUse("net1.5", 7, 1, 0, 0, 9, 1, 0, 0),
    )


def test_the_default_interface():
    both = parse_interfaces(DEV)
    assert default_interface(both, ROUTES) == "eth0", "what the kubelet expects goes first"
    others = tuple(InterfaceUse(name, *[0] * 8) for name in ("ens3", "net1.5"))
    assert default_interface(others, ROUTES) == "net1.5", "else the one of the default route"
    assert default_interface(others, b"") == "ens3"
    assert default_interface((), ROUTES) == ""


@given(
    st.lists(st.integers(0, 2**63), min_size=16, max_size=16),
    st.text("abcdefgh0123456789._-", min_size=1, max_size=15),
)
def test_any_counters_and_names(counters: list[int], name: str):
    line = f"{name:>6}: {' '.join(map(str, counters))}\n".encode()
    (found,) = parse_interfaces(b"heading\nheading\n" + line) or (None,)
    if name != "lo":
        assert found is not None
        assert (found.name, found.rx_bytes, found.tx_bytes) == (name, counters[0], counters[8])


def test_a_live_process_and_one_that_is_gone():
    assert network_use(os.getpid()) is not None
    assert network_use(4_999_999) is None
