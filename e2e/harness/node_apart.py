"""A node within this machine where everything has its usual path: /run, /var/lib, /etc, the first process, port 1338.

For what names these paths and cannot be told others, such as the manifests in `deploy/image`. Namespaces keep it
apart: mounts (with the directories of the node in the place of the machine's), processes, network, and cgroups, whose
root is a cgroup of the machine's. It ends with its first process, and nothing of it is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.harness.eventually import eventually
from e2e.harness.kubelet import prepare_cgroups
from e2e.harness.neighbours import output_of
from e2e.harness.node import remove_cgroups, short_directory
from e2e.harness.server import answering

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONTAINERD = "run/containerd/containerd.sock"
CONTAINERD_LOG = "var/log/containerd.log"
NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")
JOIN_CGROUPS = """
for group in /sys/fs/cgroup/*"$0" /sys/fs/cgroup"$0"; do [ ! -d "$group" ] || echo $$ >"$group/cgroup.procs"; done
exec "$@"
"""
FIRST_PROCESS = """
set -euo pipefail
mount -t overlay -o lowerdir=/etc,upperdir="$0/overlay/upper",workdir="$0/overlay/work" overlay /etc
mkdir -p /etc/containerd /etc/cni
for place in run var/lib var/log etc/containerd etc/cni; do mount --bind "$0/$place" "/$place"; done
places=$(awk '$3 ~ /^cgroup/ { print $2 }' /proc/self/mounts)
for place in $places; do mount --bind "$place$1" "$place"; done
mount --make-rshared /
ip link set lo up
echo ready
read -r _ || true
"""
"""It reaps whoever has lost its parent, and ends when its standard input does."""
START_CONTAINERD = f"setsid containerd >>/{CONTAINERD_LOG} 2>&1 </dev/null & echo $! >/run/containerd.pid"
STOP_CONTAINERD = (
    "pid=$(cat /run/containerd.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done"
)


@dataclass(frozen=True, slots=True)
class NodeApart:
    """The node's files and a process whose namespaces are the node's."""

    home: Path
    """Its /run, /var/lib, /var/log, /etc/containerd and /etc/cni are directories in here."""
    first_process: int

    async def run(self, *command: str | Path) -> str:
        """The output of a program that runs in the node and must succeed."""
        return await output_of("nsenter", f"--target={self.first_process}", *NAMESPACES, "--", *command)

    async def start_containerd(self, configuration: str) -> None:
        """Start the machine's containerd as the node's, as a service would be."""
        (self.home / "etc" / "containerd" / "config.toml").write_text(configuration)
        await self.run("bash", "-c", START_CONTAINERD)

        async def answers() -> str:
            try:
                return await self.run("ctr", "version")
            except AssertionError as error:
                return str(error)

        await eventually(answers, lambda answer: "Server:" in answer, "containerd's answer", 30)

    async def stop_containerd(self) -> None:
        """End containerd alone; its containers run on."""
        await self.run("bash", "-c", STOP_CONTAINERD)

    async def served(self, socket: str, log: str) -> str:
        """Wait until a CRI server answers at a path in the node; the path outside."""
        endpoint = str(self.home / socket.lstrip("/"))
        await answering(endpoint, None, self.home / log.lstrip("/"))
        return endpoint


@contextlib.asynccontextmanager
async def node_apart() -> AsyncIterator[NodeApart]:
    """Make a node, and end everything in it."""
    home = short_directory("e2e-apart")
    for place in (
        "run",
        "var/lib",
        "var/log",
        "etc/containerd",
        "etc/cni/net.d",
        "overlay/upper",
        "overlay/work",
    ):
        (home / place).mkdir(parents=True)
    cgroup = f"/{home.name}"
    prepare_cgroups(cgroup)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", JOIN_CGROUPS, cgroup),
        *("unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc"),
        *("bash", "-c", FIRST_PROCESS, str(home), cgroup),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield NodeApart(home, int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()))
    finally:
        process.kill()
        await process.communicate()
        await asyncio.to_thread(remove_cgroups, cgroup)
        shutil.rmtree(home, ignore_errors=True)
