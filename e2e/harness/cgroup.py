"""What the kernel has in a process's cgroups, on version 1 and 2 alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from api.wire import criv1

if TYPE_CHECKING:
    from e2e.harness.workload import Container

ROOT = Path("/sys/fs/cgroup")


def cgroup_version() -> int:
    return 2 if (ROOT / "cgroup.controllers").exists() else 1


async def process_of(container: Container) -> int:
    """The host's number of a container's first process."""
    request = criv1.ContainerStatusRequest(container_id=container.id, verbose=True)
    answer = await container.cri.runtime.ContainerStatus(request)
    process: int = json.loads(answer.info["info"])["pid"]
    return process


def control_value(process: int, controller: str, first: str, second: str, *, above: int = 0) -> str:
    """A control file of a process's cgroup, or of one `above` it, by its name in version 1 or in version 2."""
    for line in Path(f"/proc/{process}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") or (cgroup_version() == 2 and not controllers):
            tree = ROOT if cgroup_version() == 2 else ROOT / controller
            directory = [tree / path.strip("/"), *(tree / path.strip("/")).parents][above]
            return (directory / (second if cgroup_version() == 2 else first)).read_text().strip()
    raise AssertionError(f"process {process} is in no cgroup of {controller}")
