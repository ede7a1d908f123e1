"""Samples in protobuf's wire form: what a PodSandboxMetrics would be encoded to, without making the messages. Pure.

A node with 100 pods has 5500 samples, which differ in little: the name is the metric's, the labels are the
container's, the time is the reading's. Each of these is encoded once, and a sample is put together from them; that
takes less than half the time of making messages and encoding these.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from api.wire import criv1
from api.wire_format import LENGTH_DELIMITED, delimited, tag, text, unsigned, varint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cri.stats.pod_metrics import Sample, Subject

NAME = criv1.Metric.NAME_FIELD_NUMBER
TIMESTAMP = criv1.Metric.TIMESTAMP_FIELD_NUMBER
METRIC_TYPE = criv1.Metric.METRIC_TYPE_FIELD_NUMBER
LABEL_VALUES = criv1.Metric.LABEL_VALUES_FIELD_NUMBER
VALUE = criv1.Metric.VALUE_FIELD_NUMBER
NUMBER = criv1.UInt64Value.VALUE_FIELD_NUMBER
METRICS = criv1.ContainerMetrics.METRICS_FIELD_NUMBER
"""The same in PodSandboxMetrics; a test says so."""

_KINDS = (criv1.COUNTER, criv1.GAUGE)


def encoded_pod(sandbox_id: str, samples: bytes, containers: Iterable[bytes]) -> bytes:
    """A PodSandboxMetrics with `encoded_samples` of its own and `encoded_container`s."""
    field = criv1.PodSandboxMetrics.CONTAINER_METRICS_FIELD_NUMBER
    return b"".join(
        (
            text(criv1.PodSandboxMetrics.POD_SANDBOX_ID_FIELD_NUMBER, sandbox_id),
            samples,
            *(delimited(field, container) for container in containers),
        )
    )


def encoded_container(container_id: str, *samples: bytes) -> bytes:
    """A ContainerMetrics with lots of `encoded_samples`."""
    return text(criv1.ContainerMetrics.CONTAINER_ID_FIELD_NUMBER, container_id) + b"".join(samples)


def encoded_samples(subject: Subject, at: int, samples: Iterable[Sample]) -> bytes:
    """The repeated field `metrics` with samples taken at `at` (Unix nanoseconds)."""
    labels = b"".join(map(_label, subject.label_values))
    common = {kind: unsigned(TIMESTAMP, at) + unsigned(METRIC_TYPE, kind) + labels for kind in _KINDS}
    parts: list[bytes] = []
    for descriptor, value, extra in samples:
        name, middle, number = _name(descriptor.name), common[descriptor.kind], _value(value)
        if extra:
            middle += _labels(extra)
        parts += (_head(len(name) + len(middle) + len(number)), name, middle, number)
    return b"".join(parts)


@functools.lru_cache(maxsize=128)
def _name(name: str) -> bytes:
    return text(NAME, name)


@functools.lru_cache(maxsize=1024)
def _head(length: int) -> bytes:
    """Tag and length of a sample."""
    return tag(METRICS, LENGTH_DELIMITED) + varint(length)


@functools.lru_cache(maxsize=1024)
def _value(value: int) -> bytes:
    """Many are nought, or limits that stay as they are."""
    return delimited(VALUE, unsigned(NUMBER, value))


@functools.lru_cache(maxsize=256)
def _labels(values: tuple[str, ...]) -> bytes:
    """Extra labels: few, and the same for all containers."""
    return b"".join(map(_label, values))


def _label(value: str) -> bytes:
    """An element of a repeated field is there also when it is empty."""
    return delimited(LABEL_VALUES, value.encode())
