"""Values to the wire and back."""

from __future__ import annotations

import pytest
from google.protobuf import any_pb2, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from api.containerd import (
    Container,
    Descriptor,
    Mount,
    TypedValue,
    containers,
    descriptors,
    mounts,
    times,
    typed,
)
from api.containerd.typed_value import from_wire_or_none, to_wire
from api.wire.containerd import runc_pb2, types_pb2

TEXT = st.text(max_size=12)
LABELS = st.dictionaries(TEXT, TEXT, max_size=3)
TYPED = st.builds(TypedValue, st.text(min_size=1, max_size=12), st.binary(max_size=12))
NANOSECONDS = st.integers(min_value=10**9, max_value=10**19)


@given(
    st.builds(
        Container,
        id=TEXT,
        labels=LABELS,
        image=TEXT,
        runtime=TEXT,
        runtime_options=st.none() | TYPED,
        spec=st.none() | TYPED,
        snapshotter=TEXT,
        snapshot_key=TEXT,
        created_at=st.just(0) | NANOSECONDS,
        updated_at=st.just(0) | NANOSECONDS,
        extensions=st.dictionaries(TEXT, TYPED, max_size=3),
        sandbox_id=TEXT,
    )
)
def test_containers_survive_the_wire(container: Container) -> None:
    assert containers.from_wire(containers.to_wire(container)) == container


@given(st.builds(Descriptor, TEXT, TEXT, st.integers(0, 2**62), LABELS))
def test_descriptors_survive_the_wire(descriptor: Descriptor) -> None:
    assert descriptors.from_wire(descriptors.to_wire(descriptor)) == descriptor


@given(st.lists(st.builds(Mount, TEXT, TEXT, TEXT, st.lists(TEXT, max_size=3).map(tuple)), max_size=3))
def test_mounts_survive_the_wire(several: list[Mount]) -> None:
    assert mounts.from_wire(mounts.to_wire(several)) == several


@given(NANOSECONDS)
def test_times_survive_the_wire(nanoseconds: int) -> None:
    timestamp = times.to_wire(nanoseconds)
    assert timestamp is not None
    assert times.from_wire(timestamp) == nanoseconds


def test_no_time_is_zero() -> None:
    assert times.to_wire(0) is None
    assert times.from_wire(timestamp_pb2.Timestamp()) == 0
    go_zero = timestamp_pb2.Timestamp(seconds=-62135596800)
    assert times.from_wire(go_zero) == 0, "Go's zero time means never"


def test_messages_have_bare_type_names() -> None:
    options = runc_pb2.Options(systemd_cgroup=True)
    value = typed(options)
    assert value.type_url == "containerd.runc.v1.Options"
    assert value.decode(runc_pb2.Options) == options
    with pytest.raises(TypeError, match=r"containerd\.types\.Mount"):
        value.decode(types_pb2.Mount)
    elsewhere = TypedValue(f"type.googleapis.com/{value.type_url}", value.value)
    assert elsewhere.decode(runc_pb2.Options) == options


def test_json_values() -> None:
    value = TypedValue.json("some/url", {"a": [1, "ä"]})
    assert value == TypedValue("some/url", '{"a":[1,"ä"]}'.encode())
    assert value.decode_json() == {"a": [1, "ä"]}
    assert value.decode_json(dict[str, list[int | str]]) == {"a": [1, "ä"]}
    with pytest.raises(ValueError, match="Expected `int`"):
        value.decode_json(dict[str, int])


def test_unset_values_are_none() -> None:
    assert to_wire(None) is None
    assert from_wire_or_none(any_pb2.Any()) is None
