"""How pods started: the operations that made each pod with the times of their stages, kept for a look afterwards.

Listens to finished operations and keeps those that belong to a pod's start, by the pod's UID, so that attempts that
failed are there too. Bounded: the pods that have started last, and so many operations of each. Lost with the process,
because it explains the past and nothing depends on it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

from cri.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cri.observe.stages import Operation

STARTING = frozenset({"RunPodSandbox", "PullImage", "CreateContainer", "StartContainer"})
"""Operations that a pod's start consists of."""
MOST_PODS = 500
MOST_OPERATIONS = 64
"""Of one pod, the last ones: a pod that restarts its containers for weeks has many."""


class StageTime(TypedDict):
    """One stage, in seconds since its operation began."""

    name: str
    begin: float
    seconds: float


class OperationTime(TypedDict):
    """One operation of a pod's start; plain values, as it goes into JSON."""

    operation: str
    object: str
    """Container name or image; empty for the sandbox itself."""
    container: str
    """Container id, where there is one."""
    began_at: int
    """Unix nanoseconds."""
    seconds: float
    outcome: str
    stages: list[StageTime]


class Timeline(TypedDict):
    """A pod's start."""

    pod: str
    """namespace/name."""
    uid: str
    sandbox: str
    """Id of the last sandbox."""
    operations: list[OperationTime]


@dataclass(slots=True)
class _Pod:
    name: str
    uid: str
    sandbox: str = ""
    operations: deque[OperationTime] = field(default_factory=lambda: deque(maxlen=MOST_OPERATIONS))

    def timeline(self) -> Timeline:
        return {
            "pod": self.name,
            "uid": self.uid,
            "sandbox": self.sandbox,
            "operations": sorted(self.operations, key=lambda each: each["began_at"]),
        }


class Timelines:
    """The pods that have started last. Call it with finished operations."""

    def __init__(self) -> None:
        self._pods: OrderedDict[str, _Pod] = OrderedDict()
        self._uids: dict[str, str] = {}
        """UID by sandbox id."""
        self._containers: dict[str, tuple[str, str]] = {}
        """Sandbox id and container name by container id."""

    def __call__(self, finished: Operation) -> None:
        """Keep `finished` if it is part of a pod's start; made for `cri.observe.stages.on_finished`."""
        if finished.name not in STARTING:
            return
        told = finished.attributes
        container = told.get("container", "")
        sandbox, name = told.get("sandbox", ""), told.get("name", "")
        if container and not sandbox:
            container = self._full_id(container)
            sandbox, name = self._containers.get(container, ("", ""))
        uid = told.get("uid") or self._uids.get(sandbox, "")
        if not uid:
            return
        pod = self._pod(uid, told.get("pod", ""))
        if finished.name == "RunPodSandbox" and sandbox:
            pod.sandbox = sandbox
            self._uids[sandbox] = uid
        if container:
            self._containers[container] = (sandbox, name)
        pod.operations.append(_operation_time(finished, name or told.get("image", ""), container))

    def of_uid(self, uid: str) -> Timeline | None:
        """The start of the pod with this UID, None when it is not known (any more)."""
        pod = self._pods.get(uid)
        return None if pod is None else pod.timeline()

    def of_container(self, container_id: str) -> list[OperationTime]:
        """Only what concerned one container."""
        sandbox, _ = self._containers.get(container_id, ("", ""))
        pod = self._pods.get(self._uids.get(sandbox, ""))
        return [] if pod is None else [each for each in pod.operations if each["container"] == container_id]

    def find(self, wanted: str) -> Timeline:
        """The start of the pod with this name, namespace/name, UID or beginning of a sandbox id; the newest of several.

        Raises InvalidArgument, NotFound.
        """
        if not wanted:
            raise InvalidArgument("name a pod: NAME, NAMESPACE/NAME, UID or sandbox id")
        for pod in reversed(self._pods.values()):
            if wanted in (pod.uid, pod.name, pod.name.partition("/")[2]) or pod.sandbox.startswith(wanted):
                return pod.timeline()
        raise NotFound(
            f"no start of a pod {wanted!r} is remembered; the last {MOST_PODS} since this server's start are"
        )

    def _full_id(self, container: str) -> str:
        """People start containers by the beginning of an id."""
        if container in self._containers:
            return container
        return next((known for known in self._containers if known.startswith(container)), container)

    def _pod(self, uid: str, name: str) -> _Pod:
        pod = self._pods.get(uid)
        if pod is None:
            pod = self._pods[uid] = _Pod(name, uid)
            while len(self._pods) > MOST_PODS:
                self._forget(self._pods.popitem(last=False)[1])
        pod.name = pod.name or name
        self._pods.move_to_end(uid)
        return pod

    def _forget(self, pod: _Pod) -> None:
        for sandbox in [sandbox for sandbox, uid in self._uids.items() if uid == pod.uid]:
            del self._uids[sandbox]
            for container in [key for key, (of, _) in self._containers.items() if of == sandbox]:
                del self._containers[container]


def _operation_time(finished: Operation, name: str, container: str) -> OperationTime:
    return {
        "operation": finished.name,
        "object": name,
        "container": container,
        "began_at": finished.began_at,
        "seconds": round(finished.seconds or 0.0, 6),
        "outcome": finished.outcome or "",
        "stages": list(_stage_times(finished)),
    }


def _stage_times(finished: Operation) -> Iterable[StageTime]:
    for stage in finished.stages:
        begin = stage.began - finished.began
        seconds = (finished.seconds or 0.0) - begin if stage.seconds is None else stage.seconds
        yield {"name": stage.name, "begin": round(begin, 6), "seconds": round(seconds, 6)}
