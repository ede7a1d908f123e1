"""Container records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from api.containerd import SPEC_TYPE_URL, Client, Container, TypedValue, errors

if TYPE_CHECKING:
    from tests.double import ContainerdDouble

SPEC = TypedValue.json(SPEC_TYPE_URL, {"ociVersion": "1.0.2"})


async def test_a_record_comes_back_as_it_was_written(client: Client) -> None:
    container = Container(
        "c1",
        {"io.cri-containerd.kind": "container"},
        "image",
        "io.containerd.runc.v2",
        TypedValue("containerd.runc.v1.Options", b"\x48\x01"),
        SPEC,
        "overlayfs",
        "c1",
        extensions={
            "io.cri-containerd.container.metadata": TypedValue.json(
                "github.com/x/Metadata", {"Version": "v1"}
            )
        },
    )
    made = await client.containers.create(container)
    assert made.created_at > 10**18
    assert await client.containers.get("c1") == made
    assert (made.labels, made.spec, made.extensions) == (container.labels, SPEC, container.extensions)
    assert await client.containers.list('labels."io.cri-containerd.kind"==container') == [made]


async def test_lists_above_the_message_limit(client: Client, containerd: ContainerdDouble) -> None:
    big = TypedValue(SPEC_TYPE_URL, b"{" + b" " * (3 << 20) + b"}")
    for number in range(8):
        await client.containers.create(Container(f"c{number}", runtime="r", spec=big))
    assert len(await client.containers.list()) == 8
    containerd.fail("Containers.ListStream", grpc.StatusCode.UNIMPLEMENTED)
    with pytest.raises(errors.ResourceExhausted):
        await client.containers.list()


async def test_a_daemon_without_list_streams(client: Client, containerd: ContainerdDouble) -> None:
    await client.containers.create(Container("c", runtime="r", spec=SPEC))
    containerd.fail("Containers.ListStream", grpc.StatusCode.UNIMPLEMENTED)
    assert [container.id for container in await client.containers.list()] == ["c"]


async def test_updates_touch_only_what_they_name(client: Client) -> None:
    await client.containers.create(Container("c", {"a": "1", "b": "2"}, runtime="r", spec=SPEC))
    changed = await client.containers.update(
        Container("c", {"a": "", "c": "3"}, extensions={"x": TypedValue("t", b"v")}),
        "labels.a",
        "labels.c",
        "extensions.x",
    )
    assert changed.labels == {"b": "2", "c": "3"}
    assert changed.extensions == {"x": TypedValue("t", b"v")}
    assert (changed.runtime, changed.spec) == ("r", SPEC)
    whole = await client.containers.update(Container("c", {"d": "4"}, runtime="r", spec=SPEC))
    assert (whole.labels, whole.extensions) == ({"d": "4"}, {})
