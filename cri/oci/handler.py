"""A runtime handler's settings and features, as far as they shape a spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cri.oci.spec import Spec

RUNC_TYPE: Final = "io.containerd.runc.v2"
"""The runtime type of containerd's shim for runc, and for programs with runc's command line."""


@dataclass(frozen=True, slots=True)
class RuntimeHandler:
    """One `[containerd.runtimes.NAME]` table and what its runtime can do."""

    name: str
    runtime_type: str = RUNC_TYPE
    #: The runtime's cgroup driver is systemd (`SystemdCgroup`).
    systemd_cgroup: bool = False
    #: A privileged container gets no device nodes of the host…
    privileged_without_host_devices: bool = False
    #: …but may then still make and use any device.
    privileged_without_host_devices_all_devices_allowed: bool = False
    #: Containers may write below their own /sys/fs/cgroup.
    cgroup_writable: bool = False
    #: Read from `base_runtime_spec`; replaces the built-in defaults.
    base_spec: Spec | None = None
    #: Patterns (shell wildcards, `*` stops at `/`) of annotations passed into the spec.
    pod_annotations: tuple[str, ...] = ()
    container_annotations: tuple[str, ...] = ()
    #: Features of runtime and kernel, as the Status call reports them.
    recursive_read_only_mounts: bool = False
    user_namespaces: bool = False
    #: Interfaces of the host can be moved into containers.
    network_devices: bool = False
