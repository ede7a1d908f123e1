"""Whose use is measured: a container (or a sandbox's own process), or a pod as the kubelet's cgroup holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.stats.cgroup import cgroup_at, container_cgroup

if TYPE_CHECKING:
    from cri.stats.cgroup import Cgroup
    from cri.stats.held_files import Allowance


@dataclass(frozen=True, slots=True)
class ProcessTarget:
    """The cgroup of one container, or of a sandbox container."""

    id: str
    """The container id, which is part of the cgroup's name."""
    pid: int
    """Its first process."""

    @property
    def key(self) -> str:
        """By which the sampler knows it."""
        return self.id

    def open(self, allowance: Allowance) -> Cgroup:
        """Find and open the cgroup. Blocking. Raises CgroupGoneError."""
        return container_cgroup(self.pid, self.id, allowance)


@dataclass(frozen=True, slots=True)
class PodTarget:
    """The cgroup that the kubelet made for one pod."""

    id: str
    """The pod sandbox id."""
    cgroup: str
    """Path in the cgroup tree."""

    @property
    def key(self) -> str:
        """By which the sampler knows it; the sandbox's own container has the bare id."""
        return f"pod {self.id}"

    def open(self, allowance: Allowance) -> Cgroup:
        """Find and open the cgroup. Blocking. Raises CgroupGoneError."""
        return cgroup_at(self.cgroup, allowance)


Target = ProcessTarget | PodTarget
