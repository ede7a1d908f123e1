"""A metric whose number of label combinations has a cap, with a quick way to the child of each combination.

Labels such as a CNI plugin's name or a task's name come from outside or from many places; without a cap a
mistake there (an id in a name) would grow the server's memory and the monitoring's bill without end. The
look-up is on the path of every call, and prometheus_client's own takes several times as long.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram

M = TypeVar("M", Counter, Gauge, Histogram)

OTHER = "other"


class Capped(Generic[M]):
    """Admits the first `most` combinations of label values and counts every further one as "other"."""

    __slots__ = ("_children", "_metric", "_most")

    def __init__(self, metric: M, most: int) -> None:
        self._metric: M = metric
        self._most = most
        self._children: dict[tuple[str, ...], M] = {}

    def __call__(self, *values: str) -> M:
        """The child for these label values, in the order in which the metric names its labels."""
        child = self._children.get(values)
        if child is None:
            if len(self._children) >= self._most:
                return self._metric.labels(*(OTHER for _ in values))
            child = self._metric.labels(*values)
            self._children[values] = child
        return child


def task_kind(name: str) -> str:
    """What a task's name says without its object: "undo" of "undo RunPodSandbox web".

    Supervised tasks are named "KIND OBJECT" or "KIND:OBJECT"; only the kind may become a label.
    """
    for separator in (" ", ":", "/"):
        name = name.partition(separator)[0]
    return name
