"""Finding and ending what a containerd has left."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from cri.app.embedded_remains import end_process, mounts_below
from cri.linux.process import processes


def test_mounts_below_a_directory_come_last_first(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "21 1 8:1 / / rw - ext4 /dev/vda rw\n"
        "30 21 0:5 / /srv/pods/state rw shared:1 - tmpfs tmpfs rw\n"
        "31 30 0:6 / /srv/pods/state/with\\040space rw - tmpfs tmpfs rw\n"
        "32 21 0:7 / /srv/podsbeside rw - tmpfs tmpfs rw\n"
        "33 21 0:8 / /srv/pods rw - tmpfs tmpfs rw\n"
    )
    assert mounts_below(Path("/srv/pods"), table) == ["/srv/pods/state/with space", "/srv/pods/state"]


async def test_a_process_is_asked_and_waited_for() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    assert (process.pid, ["sleep", "1000"]) in list(processes())
    assert await end_process(process.pid, signal.SIGTERM)
    assert await process.wait() == -signal.SIGTERM
    assert await end_process(process.pid, signal.SIGTERM), "one that is gone is a success"


async def test_a_process_that_will_not_end_is_told() -> None:
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "trap '' TERM; echo; exec sleep 1000", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    assert not await end_process(process.pid, signal.SIGTERM, 0.05)
    assert await end_process(process.pid, signal.SIGKILL)
    await process.communicate()
