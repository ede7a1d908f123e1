"""An upgrade under fifty pods that write and answer: nothing stalls, no line is lost or doubled.

It goes as with a package: the files of the installation that runs are replaced by the next version's, then the server
is restarted. The log keeper of the version before still runs then.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

import aiohttp
import pytest
import pytest_asyncio

from cri.logs import protocol
from e2e.harness.eventually import eventually
from e2e.harness.log_lines import joined
from e2e.harness.patience import patiently
from e2e.harness.server import CriShim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod, Workloads

pytestmark = pytest.mark.cri_shim_only

PROJECT = Path(__file__).parent.parent
PODS, AT_A_TIME = 50, 4
PORT = 8080
SERVED_LINES = f"""
mkdir /tmp/www; hostname >/tmp/www/index.html; httpd -p {PORT} -h /tmp/www
number=0; while :; do number=$((number + 1)); echo $number; sleep 0.5; done
"""
STALL_SECONDS = patiently(5.0)
"""Longer than a pod may ever be silent, in its log and on its port; a restart of the server takes about two."""


@dataclass(slots=True)
class Asking:
    """Requests to pods, one after the other, for as long as it is entered."""

    addresses: list[str]
    answers: int = 0
    _asking: asyncio.Task[None] | None = field(default=None)

    async def __aenter__(self) -> Self:
        self._asking = asyncio.get_running_loop().create_task(self._ask(), name="ask pods")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._asking is not None
        self._asking.cancel()
        (outcome,) = await asyncio.gather(self._asking, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError), f"a pod did not answer: {outcome!r}"

    async def once_round(self) -> None:
        """Wait until every pod has answered once more."""
        asked, wanted = self._asking, self.answers + len(self.addresses)

        async def answers() -> int:
            assert asked is not None
            assert not asked.done(), asked.exception()
            return self.answers

        await eventually(answers, lambda seen: seen >= wanted, "an answer of every pod", patiently(30))

    async def _ask(self) -> None:
        timeout = aiohttp.ClientTimeout(total=STALL_SECONDS)
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(
            timeout=timeout, connector=connector, raise_for_status=True
        ) as session:
            while True:
                for address in self.addresses:
                    async with session.get(f"http://{address}:{PORT}/") as answer:
                        assert await answer.text() == "pod\n"
                    self.answers += 1


def install(directory: Path, *, version: int = protocol.VERSION, revision: int = protocol.REVISION) -> None:
    """Put this project's packages there, with another log keeper's numbers, as dpkg replaces those of a package."""
    for package in ("api", "cri"):
        shutil.rmtree(directory / package, ignore_errors=True)
        shutil.copytree(PROJECT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    file = directory / "cri" / "logs" / "protocol.py"
    text = re.sub(r"(?m)^VERSION: Final = \d+$", f"VERSION: Final = {version}", file.read_text())
    file.write_text(re.sub(r"(?m)^REVISION: Final = \d+$", f"REVISION: Final = {revision}", text))


@pytest_asyncio.fixture(loop_scope="session")
async def server(node: Node, nothing_left: None, tmp_path: Path) -> AsyncIterator[CriShim]:
    """The node's server in an installation of its own; afterwards it is this checkout's again."""
    assert isinstance(node.server, CriShim)
    await node.server.stop()
    await node.server.end_log_keeper()
    node.server.installation = tmp_path / "opt"
    yield node.server
    await node.server.stop()
    node.server.installation = None
    await node.server.start()


async def serving_pods(workloads: Workloads) -> list[tuple[Pod, Container]]:
    """Fifty of them, a few at a time."""
    turns = asyncio.Semaphore(AT_A_TIME)

    async def one() -> tuple[Pod, Container]:
        async with turns:
            pod = await workloads.pod()
            return pod, await pod.run(command=["sh", "-c", SERVED_LINES])

    async with asyncio.TaskGroup() as group:
        made = [group.create_task(one()) for _ in range(PODS)]
    return [task.result() for task in made]


def longest_silence_seconds(container: Container) -> float:
    """The longest time between two lines of a log."""
    lines = container.log_file.read_text().splitlines()
    times = [datetime.fromisoformat(line.split(" ", 1)[0]).timestamp() for line in lines]
    return max(after - before for before, after in itertools.pairwise(times))


async def upgrade(server: CriShim, **numbers: int) -> int:
    """Replace the files below the server that runs, then restart it; answers the log keeper's process."""
    assert server.installation is not None
    install(server.installation, **numbers)
    await server.stop()
    await server.start()
    (keeper,) = server.log_keepers()
    return keeper


async def is_gapless(container: Container) -> None:
    """Stop it and count its lines."""
    await container.stop()
    numbers = [int(line) for line in joined(await container.settled_log(), "stdout")]
    assert numbers == list(range(1, len(numbers) + 1)), "a line was lost, doubled or cut"


@pytest.mark.timeout(patiently(240))
async def test_pods_write_and_answer_through_upgrades(server: CriShim, workloads: Workloads) -> None:
    of_another_protocol = await upgrade(server, version=protocol.VERSION - 1, revision=protocol.REVISION - 2)
    pods = await serving_pods(workloads)
    containers = [container for _, container in pods]
    before = [await container.status() for container in containers]
    async with Asking([await pod.address() for pod, _ in pods]) as asking:
        await asking.once_round()
        of_another_revision = await upgrade(server, revision=protocol.REVISION - 1)
        await asking.once_round()
        of_today = await upgrade(server)
        await asking.once_round()
        assert await upgrade(server) == of_today, "a keeper is replaced by a newer one only"
        await asking.once_round()
    assert len({of_another_protocol, of_another_revision, of_today}) == 3
    assert [await container.status() for container in containers] == before
    silence = max(longest_silence_seconds(container) for container in containers)
    assert silence < STALL_SECONDS, f"a log stood still for {silence:.2f} s"
    async with asyncio.TaskGroup() as group:
        for container in containers:
            group.create_task(is_gapless(container))
