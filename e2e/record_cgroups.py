"""Records the control files of a pod and of its container under a known load, for the tests of `cri.stats`.

    python -m e2e.record_cgroups > tests/stats/recorded_v2.json

It wants cgroup version 2, with swap if there shall be some in it. The container writes 8 MiB to its disk, has one
process killed for want of memory, reads them again, holds 24 MiB, and spins on half a processor.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sys
from pathlib import Path

from api.wire import criv1
from e2e.harness.cgroup import cgroup_version, process_of
from e2e.harness.node import CRI_SHIM, node
from e2e.harness.patience import patiently
from e2e.harness.workload import Workloads

MEBIBYTE = 1 << 20
LIMITS = criv1.LinuxContainerResources(
    cpu_period=100_000,
    cpu_quota=50_000,
    cpu_shares=512,
    memory_limit_in_bytes=48 * MEBIBYTE,
    memory_swap_limit_in_bytes=64 * MEBIBYTE,
)
LOAD = """
dd if=/dev/urandom of=/data bs=1M count=8 && sync
dd if=/dev/zero of=/dev/null bs=80M count=1
cat /data > /dev/null
(head -c 25165824 /dev/zero; sleep 100000) | tail -n 1 > /dev/null &
while :; do :; done
"""
LOAD_SECONDS = patiently(6)


async def recorded() -> dict[str, object]:
    """The files by cgroup and name, and what was asked for."""
    async with node(CRI_SHIM) as running:
        workloads = Workloads(running.cri, running.directory / "logs", running.busybox, running.cgroup_parent)
        config = workloads.config()
        config.linux.cgroup_parent += "/recorded"
        pod = await workloads.pod_as(config)
        container = await pod.run(command=["sh", "-c", LOAD], resources=LIMITS)
        await asyncio.sleep(LOAD_SECONDS)
        group = Path(f"/proc/{await process_of(container)}/cgroup").read_text().strip().removeprefix("0::")
        directory = Path(f"/sys/fs/cgroup{group}")
        found = {"container": control_files(directory), "pod": control_files(directory.parent)}
        await workloads.remove()
    return {"kernel": platform.release(), **found}


def control_files(directory: Path) -> dict[str, str]:
    """Every file of a cgroup that can be read and holds something."""
    found = {}
    for file in sorted(directory.iterdir()):
        if file.is_file() and file.stat().st_mode & 0o444:
            try:
                found[file.name] = file.read_text()
            except OSError:
                continue
    return {name: content for name, content in found.items() if content and name != "memory.numa_stat"}


def main() -> int:
    """Write the recording to standard output."""
    if cgroup_version() != 2:
        print("this machine has cgroup version 1", file=sys.stderr)
        return 2
    json.dump(asyncio.run(recorded()), sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
