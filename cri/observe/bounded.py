"""A cap on the number of values that one Prometheus label may take.

Labels such as a CNI plugin's name or a task's name come from outside or from many places; without a cap a
mistake there (an id in a name) would grow the server's memory and the monitoring's bill without end.
"""

from __future__ import annotations

OTHER = "other"


class BoundedValues:
    """Admits the first `most` distinct values and answers "other" for every further one."""

    __slots__ = ("_admitted", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._admitted: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return `value` if it is admitted, else "other"."""
        if value in self._admitted:
            return value
        if len(self._admitted) >= self._most:
            return OTHER
        self._admitted.add(value)
        return value


def task_kind(name: str) -> str:
    """What a task's name says without its object: "undo" of "undo RunPodSandbox web".

    Supervised tasks are named "KIND OBJECT" or "KIND:OBJECT"; only the kind may become a label.
    """
    for separator in (" ", ":", "/"):
        name = name.partition(separator)[0]
    return name
