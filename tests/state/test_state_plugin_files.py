"""The files of containerd's CRI plugin, read and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.containerd.introspection import Plugin
from api.wire import criv1
from cri.state.container_status import ContainerStatus, Phase
from cri.state.plugin_files import (
    containerd_root,
    containerd_state,
    later,
    parse_status,
    render_status,
    shared_memory,
)
from cri.state.records import BadRecordError, StatusRecord

RUNNING = (
    b'{"Version":"v1","Pid":4711,"CreatedAt":10,"StartedAt":20,"FinishedAt":0,'
    b'"ExitCode":0,"Reason":"","Message":""}'
)
TIMES = st.integers(1, 2**62)


def test_a_file_of_1_6_is_read() -> None:
    assert parse_status(RUNNING).status == ContainerStatus(Phase.RUNNING, 10, 20, pid=4711)


def test_resources_of_later_versions_are_read() -> None:
    document = json.loads(RUNNING) | {"Resources": {"linux": {"cpu_shares": 512}}, "Restore": False}
    assert parse_status(json.dumps(document).encode()).resources.linux.cpu_shares == 512


@given(TIMES, TIMES, TIMES, st.integers(0, 255), st.text(max_size=20))
def test_an_ended_container_comes_back_as_it_was(
    created: int, started: int, finished: int, code: int, message: str
) -> None:
    status = ContainerStatus(Phase.EXITED, created, started, finished, code, "Error", message)
    resources = criv1.ContainerResources(linux=criv1.LinuxContainerResources(memory_limit_in_bytes=1 << 20))
    stored = StatusRecord(status, resources)
    assert parse_status(render_status(stored)) == stored


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b'{"Version":"v2"}', b'{"Version":"v1","CreatedAt":"x"}']
)
def test_what_is_no_status_is_named(data: bytes) -> None:
    with pytest.raises(BadRecordError, match="status"):
        parse_status(data)


def test_an_empty_status_is_that_of_a_created_container() -> None:
    assert parse_status(b'{"Version":"v1","Resources":null}').status.phase is Phase.CREATED


def test_the_further_of_two_statuses_counts_and_ours_if_they_are_alike() -> None:
    def at(phase: Phase, message: str) -> StatusRecord:
        return StatusRecord(ContainerStatus(phase, 1, message=message))

    assert later(at(Phase.RUNNING, "ours"), at(Phase.EXITED, "theirs")) == at(Phase.EXITED, "theirs")
    assert later(at(Phase.EXITED, "ours"), at(Phase.RUNNING, "theirs")) == at(Phase.EXITED, "ours")
    assert later(at(Phase.RUNNING, "ours"), at(Phase.RUNNING, "theirs")) == at(Phase.RUNNING, "ours")
    assert later(None, at(Phase.CREATED, "theirs")) == at(Phase.CREATED, "theirs")
    assert later(None, None) is None


def test_directories_are_found_from_what_containerd_shows() -> None:
    root = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs"
    plugins = [
        Plugin("io.containerd.internal.v1", "opt", exports={"path": "/opt/containerd"}),
        Plugin("io.containerd.snapshotter.v1", "overlayfs", exports={"root": root}),
    ]
    assert containerd_root(plugins) == Path("/var/lib/containerd")
    assert containerd_root(plugins[:1]) is None
    points = [
        "/",
        "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/abc/shm",
        "/run/containerd/io.containerd.runtime.v2.task/moby/x/rootfs",
        "/run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/rootfs",
    ]
    assert containerd_state(points, "k8s.io", {"abc"}) == Path("/run/containerd")
    assert containerd_state(points, "k8s.io", {"def"}) is None
    assert containerd_state(points[:2], "k8s.io", {"abc"}) is None
    assert shared_memory(points) == {"abc": Path(points[1])}
