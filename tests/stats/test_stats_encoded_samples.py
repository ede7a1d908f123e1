"""Samples put together in the wire form are byte for byte what protobuf makes of the messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.wire import criv1
from cri.stats.descriptors import descriptors
from cri.stats.encoded_samples import encoded_container, encoded_pod, encoded_samples
from cri.stats.pod_metrics import Sample, Subject

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
UNSIGNED = st.integers(0, 2**64 - 1)
SUBJECTS = st.builds(Subject, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT)


@st.composite
def _sample(draw: st.DrawFn) -> Sample:
    metric = draw(st.sampled_from(list(descriptors())))
    extra = draw(st.lists(TEXT, min_size=len(metric.extra_labels), max_size=len(metric.extra_labels)))
    return metric, draw(UNSIGNED), tuple(extra)


def message(subject: Subject, at: int, sample: Sample) -> criv1.Metric:
    metric, value, extra = sample
    return criv1.Metric(
        name=metric.name,
        timestamp=at,
        metric_type=metric.kind,
        label_values=(*subject.label_values, *extra),
        value=criv1.UInt64Value(value=value),
    )


@given(SUBJECTS, st.integers(0, 2**63 - 1), st.lists(_sample(), max_size=8))
def test_a_pod_is_what_protobuf_would_have_made_of_it(subject: Subject, at: int, samples: list[Sample]):
    metrics = [message(subject, at, sample) for sample in samples]
    encoded = encoded_samples(subject, at, samples)
    container = encoded_container("c", encoded, encoded)
    assert container == criv1.ContainerMetrics(container_id="c", metrics=metrics * 2).SerializeToString()
    pod = criv1.PodSandboxMetrics(
        pod_sandbox_id="p",
        metrics=metrics,
        container_metrics=[criv1.ContainerMetrics(container_id="c", metrics=metrics * 2)] * 2,
    )
    assert encoded_pod("p", encoded, [container, container]) == pod.SerializeToString()
