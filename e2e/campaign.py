"""Pods come and go while the server, and now and then containerd, are killed: nothing may get lost, nothing left.

    python -m e2e.campaign --server-kills 200 --containerd-kills 20

Several clients run pods with containers of known ends: some print counted lines and exit with a code of their own, some
run until they are stopped. They execute programs, pull and remove images, and call again whatever breaks, as the
kubelet does. Meanwhile the server is killed with SIGKILL at random moments. In the end:

    every container that ran has the exit code that its program gave
    every line that was printed is in the log exactly once
    `cri-shim check` finds nothing, no address is reserved, and the node holds what it held before
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from api.wire import criv1
from e2e.harness import catalogue
from e2e.harness.commands import cri_shim
from e2e.harness.cri import container_config, pod_config
from e2e.harness.eventually import eventually
from e2e.harness.leftovers import Holdings, end_abandoned_shims, holdings, lasting_leftovers
from e2e.harness.log_lines import joined, log_lines
from e2e.harness.node import CRI_SHIM
from e2e.harness.node import node as running_node
from e2e.harness.persistent import Persistent
from e2e.harness.push import push

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod

CLIENTS = 4
COUNTED = "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo $i; {pause}; done; exit {code}"
SLEEPER = "trap 'exit {code}' TERM; echo ready; while :; do sleep 1000 & wait $!; done"
LONGEST_PAUSE_BETWEEN_KILLS = 1.5
SHORTEST_LIFE = 0.05
PULLED = "e2e/campaign"


@dataclass
class Figures:
    """What was done, and what went wrong."""

    server_kills: int = 0
    containerd_kills: int = 0
    pods: int = 0
    containers: int = 0
    cut_off_starts: int = 0
    """Containers whose start was cut off: they ended with StartError and never ran."""
    execs: int = 0
    pulls: int = 0
    lines: int = 0
    again: dict[str, int] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    recovery_seconds: list[float] = field(default_factory=list)
    """From the start of the server's program to its first answer."""
    seconds: float = 0.0


class Campaign:
    """One run on one node."""

    def __init__(self, node: Node, logs: Path, seed: int) -> None:
        self.figures = Figures()
        self._node = node
        self._logs = logs
        self._dice = random.Random(seed)
        self._ending = asyncio.Event()
        self._again: Counter[str] = Counter()

    async def run(self, server_kills: int, containerd_kills: int) -> Figures:
        """Churn and kill; then look what is left."""
        node = self._node
        began = time.monotonic()
        await push(node.registry, PULLED, "1", catalogue.layered(3, 200_000))
        before = await holdings(node.containerd, node.server.directories, node.cgroup_parent)
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._client(f"client{number}"))
            group.create_task(self._puller())
            try:
                await self._kill(server_kills, containerd_kills)
            finally:
                self._ending.set()
        await self._look_for_leaks(before)
        self.figures.again = dict(self._again)
        self.figures.seconds = round(time.monotonic() - began, 1)
        return self.figures

    # -- what breaks

    async def _kill(self, server_kills: int, containerd_kills: int) -> None:
        node = self._node
        with_containerd = set(self._dice.sample(range(server_kills), containerd_kills))
        for number in range(server_kills):
            await asyncio.sleep(self._dice.uniform(SHORTEST_LIFE, LONGEST_PAUSE_BETWEEN_KILLS))
            if number in with_containerd:
                await node.containerd.kill()
                self.figures.containerd_kills += 1
            await node.server.kill()
            self.figures.server_kills += 1
            if number in with_containerd:
                await node.containerd.start()
            started = time.monotonic()
            await node.server.start()
            self.figures.recovery_seconds.append(round(time.monotonic() - started, 2))

    # -- what goes on meanwhile

    async def _client(self, name: str) -> None:
        client = Persistent(self._node.cri, self._node.busybox, self._again)
        number = 0
        while not self._ending.is_set():
            number += 1
            directory = self._logs / f"{name}-{number}"
            config = pod_config(
                f"{name}-{number}", log_directory=str(directory), cgroup_parent=self._node.cgroup_parent
            )
            pod = await client.pod(config)
            self.figures.pods += 1
            await asyncio.gather(
                *(self._container(client, pod, each) for each in range(self._dice.randint(1, 3)))
            )
            await client.remove_pod(pod)

    async def _container(self, client: Persistent, pod: Pod, number: int) -> None:
        code = self._dice.randint(1, 120)
        lines = self._dice.randint(1, 400)
        sleeper = self._dice.random() < 0.4
        pause = self._dice.choice(["sleep 0.01", ":", "sleep 0.002"])
        script = SLEEPER.format(code=code) if sleeper else COUNTED.format(lines=lines, pause=pause, code=code)
        config = container_config(f"c{number}", self._node.busybox, command=["sh", "-c", script])
        container = await client.container(pod, config)
        if not await client.start(container):
            self.figures.cut_off_starts += 1
            await client.remove(container)
            return
        self.figures.containers += 1
        await self._execute(container)
        if sleeper:
            await self._said_ready(container)
            await client.stop(container, 30)
        status = await client.ended(container)
        if status.exit_code != code:
            self.figures.losses.append(
                f"{pod.config.metadata.name}/c{number} ({container.id[:13]}): exit code {status.exit_code} "
                f"({status.reason}: {status.message}), its program gave {code}"
            )
        self._check_log(container, ["ready"] if sleeper else [str(line + 1) for line in range(lines)])
        if self._dice.random() < 0.5:
            await client.remove(container)

    async def _execute(self, container: Container) -> None:
        """A probe; it may fail, since the container may have ended, and is not repeated."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            await container.execute("true", timeout_seconds=5)
            self.figures.execs += 1

    async def _said_ready(self, container: Container) -> None:
        """A signal before its trap is set would end it by the signal."""

        async def log() -> bytes:
            return container.log_file.read_bytes() if container.log_file.exists() else b""

        await eventually(log, lambda text: b"ready" in text, "ready in the log", 120)

    def _check_log(self, container: Container, expected: Sequence[str]) -> None:
        try:
            found = [line.decode() for line in joined(log_lines(container.log_file), "stdout")]
        except (OSError, AssertionError) as error:
            self.figures.losses.append(f"log {container.log_file}: {error}")
            return
        self.figures.lines += len(found)
        if found != list(expected):
            missing = Counter(expected) - Counter(found)
            doubled = Counter(found) - Counter(expected)
            self.figures.losses.append(
                f"log {container.log_file}: {len(found)} of {len(expected)} lines, "
                f"missing {list(missing)[:5]}, doubled {list(doubled)[:5]}"
            )

    async def _puller(self) -> None:
        client = Persistent(self._node.cri, self._node.busybox, self._again)
        image = criv1.ImageSpec(image=f"{self._node.registry.host}/{PULLED}:1")
        service = self._node.cri.image
        while not self._ending.is_set():
            await client.until_done(
                "PullImage", lambda: service.PullImage(criv1.PullImageRequest(image=image))
            )
            self.figures.pulls += 1
            await client.until_done(
                "RemoveImage", lambda: service.RemoveImage(criv1.RemoveImageRequest(image=image))
            )
            await asyncio.sleep(0.2)

    # -- what is left

    async def _look_for_leaks(self, before: Holdings) -> None:
        node = self._node
        await end_abandoned_shims(node.containerd)
        checked = await cri_shim(node, "check", "--json")
        if checked.exit_code != 0:
            self.figures.leaks.append(f"cri-shim check: {checked.output or checked.errors}")
        reserved = [path.name for path in node.containerd.layout.reservations.glob("*/*.*.*.*")]
        self.figures.leaks += [f"address {address} is still reserved" for address in reserved]
        directories = node.server.directories
        self.figures.leaks += await lasting_leftovers(
            before,
            node.containerd,
            directories,
            node.cgroup_parent,
        )


async def main(server_kills: int, containerd_kills: int, seed: int) -> Figures:
    """A campaign on a node of its own."""
    async with running_node(CRI_SHIM) as node:
        return await Campaign(node, node.directory.parent / "logs", seed).run(server_kills, containerd_kills)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--server-kills", type=int, default=200)
    parser.add_argument("--containerd-kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    outcome = asyncio.run(main(given.server_kills, given.containerd_kills, given.seed))
    print(json.dumps(asdict(outcome), indent=2))
    raise SystemExit(1 if outcome.losses or outcome.leaks else 0)
