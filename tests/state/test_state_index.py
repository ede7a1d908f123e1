"""Lookups by id and unique prefix, names that are taken, filters."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.wire import criv1
from cri.errors import AlreadyExists, InvalidArgument, NotFound
from cri.state.container import Container
from cri.state.container_status import CRI_STATES, ContainerStatus, Phase
from cri.state.filters import container_matches, sandbox_matches
from cri.state.index import Index
from cri.state.node import Names, Node
from cri.state.records import ContainerRecord, SandboxRecord
from cri.state.sandbox import Sandbox


@dataclass
class Item:
    id: str


def index(*ids: str) -> Index[Item]:
    found: Index[Item] = Index("container")
    for identifier in ids:
        found.add(Item(identifier))
    return found


def test_a_full_id_wins_over_longer_ones_that_begin_with_it():
    assert index("ab", "abc").get("ab").id == "ab"


def test_an_ambiguous_prefix_is_refused():
    with pytest.raises(InvalidArgument, match="container id prefix 'a' is ambiguous"):
        index("ab", "ac").get("a")


def test_unknown_and_empty_ids():
    with pytest.raises(NotFound, match="container 'x' does not exist"):
        index("ab").get("x")
    with pytest.raises(InvalidArgument, match="container_id is empty"):
        index("ab").get("")
    assert index("ab").find("x") is None


@given(st.sets(st.text("abc", min_size=1, max_size=6), max_size=8), st.text("abc", min_size=1, max_size=6))
def test_a_prefix_finds_the_only_match_or_refuses(ids, prefix):
    matching = [identifier for identifier in ids if identifier.startswith(prefix)]
    found = index(*ids)
    if prefix in ids or len(matching) == 1:
        expected = prefix if prefix in ids else matching[0]
        assert found.get(prefix).id == expected
    else:
        with pytest.raises(InvalidArgument if matching else NotFound):
            found.get(prefix)


def test_a_name_belongs_to_its_holder():
    names = Names("container")
    names.reserve("app", "1")
    names.reserve("app", "1")
    with pytest.raises(AlreadyExists, match="belongs to container 1"):
        names.reserve("app", "2")
    names.release("app", "2")
    assert names.holder("app") == "1"
    names.release("app", "1")
    assert names.holder("app") is None


def sandbox(identifier="a" * 64, *, ready=True, **labels: str) -> Sandbox:
    config = criv1.PodSandboxConfig(labels=labels)
    return Sandbox(SandboxRecord(identifier, identifier, config, "", "runc"), ready=ready)


def container(identifier="b" * 64, phase=Phase.CREATED, pod="a" * 64, **labels: str) -> Container:
    record = ContainerRecord(identifier, identifier, pod, criv1.ContainerConfig(labels=labels), "i", "")
    return Container(record, ContainerStatus(phase, created_at=1), "overlayfs")


def test_filters_are_anded():
    ready = criv1.PodSandboxStateValue(state=criv1.SANDBOX_READY)
    assert sandbox_matches(sandbox(app="web"), criv1.PodSandboxFilter())
    assert sandbox_matches(
        sandbox(app="web"), criv1.PodSandboxFilter(id="aaa", state=ready, label_selector={"app": "web"})
    )
    assert not sandbox_matches(sandbox(ready=False), criv1.PodSandboxFilter(state=ready))
    assert not sandbox_matches(
        sandbox(app="web"), criv1.PodSandboxFilter(id="aaa", label_selector={"app": "db"})
    )
    assert not sandbox_matches(sandbox(), criv1.PodSandboxFilter(id="b"))


@given(
    st.sampled_from(Phase), st.sampled_from(list(criv1.ContainerState.values())), st.booleans(), st.booleans()
)
def test_container_filter_shows_what_every_condition_allows(phase, state, right_pod, right_label):
    wanted = criv1.ContainerFilter(
        state=criv1.ContainerStateValue(state=state),
        pod_sandbox_id="a" if right_pod else "c",
        label_selector={"app": "web" if right_label else "db"},
    )
    expected = CRI_STATES[phase] == state and right_pod and right_label
    assert container_matches(container(phase=phase, app="web"), wanted) == expected


def test_the_node_knows_containers_by_sandbox():
    node = Node()
    pod, app = sandbox(), container()
    node.add_sandbox(pod)
    node.add_container(app)
    assert node.containers_of(pod.id) == [app]
    with pytest.raises(AlreadyExists):
        node.container_names.reserve(app.record.name, "other")
    node.remove_container(app)
    assert node.containers_of(pod.id) == []
    node.container_names.reserve(app.record.name, "other")
    node.remove_sandbox(pod)
    assert len(node.sandboxes) == 0
