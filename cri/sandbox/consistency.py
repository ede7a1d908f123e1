"""Whether index, containerd, kernel and disk tell the same story of each pod and container. Pure.

The rules are tables: a condition that must not hold, and how it reads. Objects with an operation under way are passed
over, since their parts change one after the other.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.state.container_status import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """One sandbox, from all sides."""

    id: str
    name: str
    ready: bool
    host_network: bool
    ip: str
    released: bool
    """The index says that the network was given back."""
    recorded: bool
    """containerd has the record."""
    by_process: bool
    """A process holds the namespaces, not mounts."""
    task_runs: bool
    process_lives: bool
    namespaces_pinned: bool
    """The network's, and those that only mounts hold."""
    shared_memory: bool
    """/dev/shm is mounted, or the pod has none of its own."""
    files: bool
    reserved: bool
    """host-local still holds the address, or another plugin does, whom nobody can ask."""
    attached: bool
    """CNI's cache has an attachment."""
    busy: bool = False


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """One container, from all sides."""

    id: str
    name: str
    phase: Phase
    recorded: bool
    stored_phase: Phase | None
    """What the record says; None where another server wrote it."""
    task_runs: bool
    process_lives: bool
    snapshot: bool
    followed: bool
    """The log keeper has its output, or nothing is logged."""
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """One contradiction."""

    object: str
    """"pod sandbox" or "container"."""
    id: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.object} {self.id[:13]} ({self.name}): {self.text}"


SandboxRule = tuple["Callable[[SandboxFacts], bool]", str]
ContainerRule = tuple["Callable[[ContainerFacts], bool]", str]

SANDBOX_RULES: Sequence[SandboxRule] = (
    (lambda pod: not pod.recorded, "its record is gone from containerd; remove the pod"),
    (
        lambda pod: pod.ready and pod.by_process and not pod.task_runs,
        "ready, but containerd has no running task for it",
    ),
    (lambda pod: pod.ready and not pod.process_lives, "ready, but its process is gone"),
    (lambda pod: pod.ready and not pod.namespaces_pinned, "ready, but a namespace of it is not pinned"),
    (lambda pod: pod.ready and not pod.shared_memory, "ready, but its /dev/shm is not mounted"),
    (lambda pod: pod.ready and not pod.files, "ready, but its hostname, hosts or resolv.conf is missing"),
    (lambda pod: pod.ready and not pod.host_network and not pod.ip, "ready, but without an address"),
    (
        lambda pod: pod.ready and not pod.host_network and not pod.reserved,
        "ready, but its address is not reserved any more: another pod may get it",
    ),
    (lambda pod: not pod.ready and pod.task_runs, "not ready, but its process runs; stop the pod"),
    (lambda pod: not pod.by_process and pod.task_runs, "held by mounts, but containerd has a task for it"),
    (lambda pod: pod.released and pod.attached, "its network counts as released, but CNI still has it"),
)
CONTAINER_RULES: Sequence[ContainerRule] = (
    (lambda container: not container.recorded, "its record is gone from containerd; remove the container"),
    (
        lambda container: container.phase is Phase.RUNNING and not container.task_runs,
        "running, but containerd has no running task for it",
    ),
    (
        lambda container: container.phase is Phase.RUNNING and not container.process_lives,
        "running, but its process is gone",
    ),
    (
        lambda container: container.phase in (Phase.CREATED, Phase.EXITED) and container.task_runs,
        "does not run, but containerd has a running task for it",
    ),
    (
        lambda container: container.phase in (Phase.CREATED, Phase.RUNNING) and not container.snapshot,
        "its snapshot is gone",
    ),
    (
        lambda container: container.phase is Phase.RUNNING and not container.followed,
        "running, but the log keeper does not have its output",
    ),
    (
        lambda container: container.stored_phase not in (None, container.phase),
        "its record tells another state than the index",
    ),
)


def problems(sandboxes: Iterable[SandboxFacts], containers: Iterable[ContainerFacts]) -> tuple[Problem, ...]:
    """Every contradiction there is."""
    settled = [pod for pod in sandboxes if not pod.busy]
    found = [
        Problem("pod sandbox", pod.id, pod.name, text)
        for pod in settled
        for wrong, text in SANDBOX_RULES
        if wrong(pod)
    ]
    found += [
        Problem("container", container.id, container.name, text)
        for container in containers
        if not container.busy
        for wrong, text in CONTAINER_RULES
        if wrong(container)
    ]
    return (*found, *_shared_addresses(settled))


def _shared_addresses(pods: Iterable[SandboxFacts]) -> Iterator[Problem]:
    by_address: defaultdict[str, list[SandboxFacts]] = defaultdict(list)
    for pod in pods:
        if pod.ready and not pod.host_network and pod.ip:
            by_address[pod.ip].append(pod)
    for address, holders in by_address.items():
        for pod in holders[1:]:
            other = holders[0]
            text = f"has the address {address}, as has {other.id[:13]} ({other.name})"
            yield Problem("pod sandbox", pod.id, pod.name, text)
