"""The clients: pods with containers whose ends are known, commands in them, pulls; and whether all came true."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from api.wire import criv1
from e2e.harness.cri import container_config, pod_config
from e2e.harness.eventually import eventually
from e2e.harness.log_lines import joined, log_lines
from e2e.harness.patience import patiently
from e2e.harness.persistent import Persistent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from e2e.campaign.figures import Figures
    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod

COUNTED = "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo $i; {pause}; done; exit {code}"
RUNC_CUT_OFF = b"write exec fifo"
SLEEPER = "trap 'exit {code}' TERM; echo ready; while :; do sleep 1000 & wait $!; done"
GRACE_SECONDS = 30
START_ERROR = "StartError"


class PodClient:
    """Runs one pod after the other until it is told to end; the last one is removed, too."""

    def __init__(self, node: Node, logs: Path, figures: Figures, name: str, dice: random.Random) -> None:
        self._node = node
        self._logs = logs
        self._figures = figures
        self._name = name
        self._dice = dice
        self._calls = Persistent(node.cri, node.busybox, figures.again, figures.answers)

    async def run(self, ending: asyncio.Event) -> None:
        """Churn."""
        number = 0
        while not ending.is_set():
            number += 1
            name = f"{self._name}-{number}"
            directory = self._logs / name
            config = pod_config(name, log_directory=str(directory), cgroup_parent=self._node.cgroup_parent)
            pod = await self._calls.pod(config)
            self._figures.pods += 1
            async with asyncio.TaskGroup() as group:
                for each in range(self._dice.randint(1, 3)):
                    group.create_task(self._container(pod, f"c{each}"))
            await self._calls.remove_pod(pod)

    async def _container(self, pod: Pod, name: str) -> None:
        code, sleeps = self._dice.randint(1, 120), self._dice.random() < 0.4
        lines = self._dice.randint(1, 400)
        pause = self._dice.choice(["sleep 0.01", ":", "sleep 0.002"])
        removed = self._dice.random() < 0.5
        script = (SLEEPER if sleeps else COUNTED).format(code=code, lines=lines, pause=pause)
        config = container_config(name, self._node.busybox, command=["sh", "-c", script])
        container = await self._calls.container(pod, config)
        if not await self._calls.start(container):
            await self._was_cut_off(container)
            return
        await self._execute(container)
        if sleeps and await self._said_ready(container):
            await self._calls.stop(container, GRACE_SECONDS)
        status = await self._calls.ended(container)
        # The record said that it runs before it did: the shim was hung until now, or containerd's end cut runc off.
        if status.reason == START_ERROR or _ended_before_its_program(container, status):
            await self._was_cut_off(container)
            return
        self._figures.containers += 1
        if status.exit_code != code:
            self._figures.losses.append(
                f"{pod.config.metadata.name}/{name} ({container.id[:13]}): exit code {status.exit_code} "
                f"({status.reason}: {status.message}), its program gave {code}, "
                f"its standard error {_said(container, 'stderr')[-3:]}"
            )
        self._check_log(container, ["ready"] if sleeps else [str(line + 1) for line in range(lines)])
        if removed:
            await self._calls.remove(container)

    async def _was_cut_off(self, container: Container) -> None:
        self._figures.cut_off_starts += 1
        await self._calls.remove(container)

    async def _execute(self, container: Container) -> None:
        """A probe; it may fail, since the container may have ended, and is not repeated."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            await container.execute("true", timeout_seconds=5)
            self._figures.execs += 1

    async def _said_ready(self, container: Container) -> bool:
        """A signal before its trap is set would end it by the signal; False if it has ended without a word."""

        async def look() -> tuple[bytes, criv1.ContainerStatus]:
            status = await self._calls.status(container)
            return container.log_file.read_bytes() if container.log_file.exists() else b"", status

        text, _ = await eventually(
            look,
            lambda seen: b"ready" in seen[0] or seen[1].state == criv1.CONTAINER_EXITED,
            "ready in the log",
            patiently(120),
        )
        return b"ready" in text

    def _check_log(self, container: Container, expected: Sequence[str]) -> None:
        try:
            found = [line.decode() for line in joined(log_lines(container.log_file), "stdout")]
        except (OSError, AssertionError) as error:
            self._figures.losses.append(f"log {container.log_file}: {error}")
            return
        self._figures.lines += len(found)
        if found != list(expected):
            missing = Counter(expected) - Counter(found)
            doubled = Counter(found) - Counter(expected)
            self._figures.losses.append(
                f"log {container.log_file}: {len(found)} of {len(expected)} lines, "
                f"missing {list(missing)[:5]}, doubled {list(doubled)[:5]}"
            )


def _ended_before_its_program(container: Container, status: criv1.ContainerStatus) -> bool:
    """runc's first process waits at a FIFO for `runc start`.

    When containerd ends, the shim kills that, and the process says so on its standard error and ends with 1.
    """
    return status.exit_code == 1 and any(RUNC_CUT_OFF in line for line in _said(container, "stderr"))


def _said(container: Container, stream: str) -> list[bytes]:
    return joined(log_lines(container.log_file), stream) if container.log_file.exists() else []


async def keep_pulling(node: Node, image: str, figures: Figures, ending: asyncio.Event) -> None:
    """Pull and remove one image again and again; in the end it is not there."""
    calls = Persistent(node.cri, node.busybox, figures.again, figures.answers)
    spec = criv1.ImageSpec(image=image)
    service = node.cri.image
    while not ending.is_set():
        await calls.until_done("PullImage", lambda: service.PullImage(criv1.PullImageRequest(image=spec)))
        figures.pulls += 1
        await calls.until_done(
            "RemoveImage", lambda: service.RemoveImage(criv1.RemoveImageRequest(image=spec))
        )
        await asyncio.sleep(0.2)
