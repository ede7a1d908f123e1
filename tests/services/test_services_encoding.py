"""Lists put together from encoded items are what protobuf would have made of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.wire import criv1
from cri.container import status
from cri.services.encoding import Encoded, field
from cri.services.list_entries import ITEMS_FIELD, container_entry, sandbox_entry
from cri.services.stats import PODS_FIELD
from cri.state.container import Container
from cri.state.container_status import ContainerStatus, Phase
from cri.state.records import ContainerRecord, SandboxRecord
from cri.state.sandbox import Sandbox


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), max_size=5))
def test_a_concatenation_is_the_message(names):
    items = [criv1.Container(id=name, labels={"a": name}) for name in names]
    encoded = Encoded.of(field(ITEMS_FIELD, item) for item in items)
    assert criv1.ListContainersResponse.FromString(encoded.content) == criv1.ListContainersResponse(
        containers=items
    )


def test_metrics_of_pods_are_in_the_same_field_of_list_and_stream():
    pods = [criv1.PodSandboxMetrics(pod_sandbox_id=name) for name in ("one", "two")]
    encoded = Encoded.of(field(PODS_FIELD, pod) for pod in pods).content
    assert encoded == criv1.ListPodSandboxMetricsResponse(pod_metrics=pods).SerializeToString()
    assert encoded == criv1.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=pods).SerializeToString()


def test_all_four_lists_have_their_items_in_the_same_field():
    numbers = {
        criv1.ListContainersResponse.CONTAINERS_FIELD_NUMBER,
        criv1.StreamContainersResponse.CONTAINERS_FIELD_NUMBER,
        criv1.ListPodSandboxResponse.ITEMS_FIELD_NUMBER,
        criv1.StreamPodSandboxesResponse.POD_SANDBOXES_FIELD_NUMBER,
    }
    assert numbers == {ITEMS_FIELD}


def test_an_entry_is_made_anew_when_the_container_has_changed():
    record = ContainerRecord("c" * 64, "n", "s" * 64, criv1.ContainerConfig(), "sha256:1", "")
    container = Container(record, ContainerStatus(Phase.CREATED, created_at=1), "overlayfs")
    first = container_entry(container)
    assert container_entry(container) is first
    container.status = container.status.starting().running(5, 9)
    shown = criv1.ListContainersResponse.FromString(container_entry(container)).containers[0]
    assert shown == status.list_item(container)
    assert shown.state == criv1.CONTAINER_RUNNING


def test_an_entry_is_made_anew_when_the_sandbox_is_not_ready_any_more():
    record = SandboxRecord("s" * 64, "n", criv1.PodSandboxConfig(), "", "")
    sandbox = Sandbox(record, ready=True)
    first = sandbox_entry(sandbox)
    assert sandbox_entry(sandbox) is first
    sandbox.ready = False
    shown = criv1.ListPodSandboxResponse.FromString(sandbox_entry(sandbox)).items[0]
    assert shown.state == criv1.SANDBOX_NOTREADY
