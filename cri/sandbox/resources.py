"""UpdatePodSandboxResources: a pod's new limits into its cgroup and its record.

The kubelet calls this after it has resized the pod's cgroup itself, and sends sums of those limits that there are: with
one container of two limited, the sum is no limit of the pod. So in the kubelet's own cgroups only limits in force are
changed. Elsewhere (other clients bring a parent of their own) the cgroup gets what was asked for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from api.containerd import Container as ContainerdContainer
from api.wire import criv1
from cri.concurrency.threads import finished_in_thread
from cri.errors import FailedPrecondition
from cri.linux.control_files import ControlFile, limits_something, write_control_files
from cri.observe.stages import stage
from cri.oci.cgroup_files import cgroup_files, with_overhead
from cri.oci.cgroups import kept_by_kubelet, pod_cgroup
from cri.oci.resources import container_resources
from cri.state.records import SANDBOX_EXTENSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cri.sandbox.engine import PodEngine
    from cri.state.sandbox import Sandbox

log = structlog.get_logger(__name__)


async def update_sandbox_resources(
    pods: PodEngine, sandbox: Sandbox, request: criv1.UpdatePodSandboxResourcesRequest
) -> None:
    """Put the limits in force and keep them; what the request leaves unset stays (CRI).

    Raises InvalidArgument for values that no kernel takes, FailedPrecondition for a sandbox that is not ready, and when
    the kernel refuses: then everything is as it was.
    """
    engine = pods.engine
    async with sandbox.lock:
        if not sandbox.ready or sandbox.removing:
            raise FailedPrecondition(f"{sandbox} is not ready; its resources cannot be updated")
        config = _with_resources(sandbox.config, request)
        total = with_overhead(config.linux.resources, config.linux.overhead)
        container_resources(total, {}, engine.host, engine.oci)
        files = [
            ControlFile(file.controller, file.name, file.value) for file in cgroup_files(total, engine.host)
        ]
        with stage("cgroup"):
            await finished_in_thread(_write, sandbox, pod_cgroup(config.linux.cgroup_parent), files)
        record = replace(sandbox.record, config=config)
        with stage("record"):
            update = ContainerdContainer(id=sandbox.id, extensions={SANDBOX_EXTENSION: record.to_extension()})
            await engine.client.containers.update(update, f"extensions.{SANDBOX_EXTENSION}")
        sandbox.record = record
    log.info("sandbox resources updated", sandbox=sandbox.id)


def _with_resources(
    config: criv1.PodSandboxConfig, request: criv1.UpdatePodSandboxResourcesRequest
) -> criv1.PodSandboxConfig:
    updated = criv1.PodSandboxConfig()
    updated.CopyFrom(config)
    if request.HasField("resources"):
        updated.linux.resources.CopyFrom(request.resources)
    if request.HasField("overhead"):
        updated.linux.overhead.CopyFrom(request.overhead)
    return updated


def _write(sandbox: Sandbox, cgroup: str, files: Sequence[ControlFile]) -> None:
    if not cgroup:
        return  # the pod shares the default parent with others
    if kept_by_kubelet(cgroup):
        files = [file for file in files if limits_something(cgroup, file)]
    try:
        write_control_files(cgroup, files)
    except OSError as error:
        raise FailedPrecondition(
            f"the limits of {sandbox} stay as they were, the kernel refused the new ones: {error}"
        ) from error
