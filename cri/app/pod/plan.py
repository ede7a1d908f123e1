"""What running a pod will ask of the CRI server: values made from a manifest, before anything happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from api.wire import criv1 as cri

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"
DIRECTORY = "cri-shim.pod/directory"
"""Annotation: where the pod's log files and volumes are, for `pod rm`."""
DEFAULT_GRACE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class PodPaths:
    """The files of one pod on the host, all below one directory."""

    directory: Path

    @property
    def logs(self) -> Path:
        """The sandbox's log directory."""
        return self.directory / "logs"

    @property
    def etc_hosts(self) -> Path:
        """The file mounted at /etc/hosts."""
        return self.directory / "etc-hosts"

    def empty_dir(self, volume: str) -> Path:
        """The directory of an emptyDir volume."""
        return self.directory / "volumes" / volume


@dataclass(frozen=True, slots=True)
class HostDirectory:
    """A directory that must be there before containers are made."""

    path: Path
    mode: int


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """One container."""

    name: str
    image: str
    pull_policy: str
    """"Always", "IfNotPresent" or "Never"."""
    config: cri.ContainerConfig


@dataclass(frozen=True, slots=True)
class PodPlan:
    """One pod."""

    name: str
    namespace: str
    runtime_handler: str
    sandbox: cri.PodSandboxConfig
    init_containers: tuple[ContainerPlan, ...]
    containers: tuple[ContainerPlan, ...]
    paths: PodPaths
    directories: tuple[HostDirectory, ...] = ()
    host_aliases: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Address and names, for /etc/hosts."""
    host_network: bool = False
    images: tuple[tuple[str, str], ...] = field(default=())
    """Each image once, with its pull policy, in order of first use."""
