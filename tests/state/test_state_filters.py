"""What lists show: everything without a condition, and a state that is zero on the wire is a condition."""

from __future__ import annotations

import pytest

from api.wire import criv1
from cri.state.container import Container
from cri.state.container_status import ContainerStatus, Phase
from cri.state.filters import matching_containers, matching_sandboxes
from cri.state.records import ContainerRecord, SandboxRecord
from cri.state.sandbox import Sandbox


@pytest.fixture
def containers() -> list[Container]:
    def container(identifier: str, phase: Phase) -> Container:
        config = criv1.ContainerConfig(labels={"id": identifier})
        record = ContainerRecord(identifier, "n", "s" * 64, config, "sha256:1", "")
        return Container(record, ContainerStatus(phase, created_at=1), "overlayfs")

    return [container("a" * 64, Phase.CREATED), container("b" * 64, Phase.EXITED)]


@pytest.fixture
def sandboxes() -> list[Sandbox]:
    return [
        Sandbox(SandboxRecord(digit * 64, "n", criv1.PodSandboxConfig(), "", ""), ready=digit == "a")
        for digit in "ab"
    ]


def test_containers_by_each_condition(containers: list[Container]):
    created = criv1.ContainerStateValue(state=criv1.CONTAINER_CREATED)
    first = [containers[0]]
    assert matching_containers(containers, criv1.ContainerFilter()) == containers
    assert matching_containers(containers, criv1.ContainerFilter(state=created)) == first
    assert matching_containers(containers, criv1.ContainerFilter(id="aa")) == first
    assert matching_containers(containers, criv1.ContainerFilter(label_selector={"id": "a" * 64})) == first
    assert matching_containers(containers, criv1.ContainerFilter(pod_sandbox_id="b")) == []


def test_sandboxes_by_each_condition(sandboxes: list[Sandbox]):
    ready = criv1.PodSandboxStateValue(state=criv1.SANDBOX_READY)
    assert matching_sandboxes(sandboxes, criv1.PodSandboxFilter()) == sandboxes
    assert matching_sandboxes(sandboxes, criv1.PodSandboxFilter(state=ready)) == sandboxes[:1]
    assert matching_sandboxes(sandboxes, criv1.PodSandboxFilter(id="bb")) == sandboxes[1:]
    assert matching_sandboxes(sandboxes, criv1.PodSandboxFilter(label_selector={"a": "b"})) == []
