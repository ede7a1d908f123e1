"""Capability sets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci.capabilities import NAMES, container_capabilities
from cri.oci.defaults import CAPABILITIES, default_spec
from cri.oci.host import HostFacts

BASE = default_spec()["process"]["capabilities"]
HOST = HostFacts(1, NAMES, NAMES, "x86_64", (6, 1))


def sets(add=(), drop=(), ambient=(), host=HOST, privileged=False):
    context = criv1.LinuxContainerSecurityContext(privileged=privileged)
    context.capabilities.add_capabilities.extend(add)
    context.capabilities.drop_capabilities.extend(drop)
    context.capabilities.add_ambient_capabilities.extend(ambient)
    return container_capabilities(context, BASE, host)


def test_nothing_asked_gives_the_defaults():
    assert sets() == BASE
    assert "ambient" not in sets()


@pytest.mark.parametrize("name", ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin"])
def test_names_in_any_spelling(name):
    assert set(sets(add=[name])["bounding"]) == {*CAPABILITIES, "CAP_NET_ADMIN"}
    assert "CAP_NET_ADMIN" not in sets(add=["ALL"], drop=[name])["effective"]


def test_all_then_individual_ones():
    assert sets(drop=["all"])["bounding"] == []
    assert sets(drop=["ALL"], add=["CHOWN"])["permitted"] == ["CAP_CHOWN"]
    assert set(sets(add=["all"], drop=["KILL"])["bounding"]) == {*NAMES} - {"CAP_KILL"}


def test_all_is_what_this_process_can_hand_on():
    host = replace(HOST, effective_capabilities=NAMES[:5])
    assert sets(add=["ALL"], host=host)["bounding"] == list(NAMES[:5])
    assert sets(privileged=True, drop=["ALL"], host=host)["bounding"] == list(NAMES[:5])


def test_ambient_ones_are_in_every_set():
    result = sets(drop=["ALL"], ambient=["net_bind_service"])
    assert all(result[name] == ["CAP_NET_BIND_SERVICE"] for name in ("bounding", "inheritable", "ambient"))


def test_a_removed_one_is_not_ambient_either():
    result = sets(drop=["CHOWN"], ambient=["CHOWN"])
    assert "ambient" not in result
    assert "CAP_CHOWN" not in result["bounding"]


def test_names_that_no_kernel_has_are_refused():
    with pytest.raises(InvalidArgument, match=r"add_capabilities: 'NET_ADMN'"):
        sets(add=["NET_ADMN"])
    with pytest.raises(InvalidArgument, match=r"drop_capabilities"):
        sets(drop=["nonsense"])


def test_one_that_this_kernel_lacks_can_be_dropped_but_not_added():
    host = replace(HOST, capabilities=NAMES[:-1])
    assert sets(drop=["CHECKPOINT_RESTORE"], host=host) == BASE
    with pytest.raises(InvalidArgument, match="running kernel"):
        sets(add=["CHECKPOINT_RESTORE"], host=host)


names = st.lists(st.sampled_from([*NAMES, "ALL", "net_raw", "Chown"]))


@given(names, names, names)
def test_invariants_of_the_sets(add, drop, ambient):
    result = sets(add, drop, ambient)
    bounding = set(result["bounding"])
    assert bounding == set(result["effective"]) == set(result["permitted"])
    assert len(result["bounding"]) == len(bounding), "a capability occurs twice"
    assert set(result.get("ambient", ())) <= set(result.get("inheritable", ())) <= bounding
    dropped = {f"CAP_{name.upper().removeprefix('CAP_')}" for name in drop} - {"CAP_ALL"}
    assert not dropped & bounding
