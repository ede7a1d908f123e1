"""The server's own work is told like its calls: recovery, the janitor's rounds, what they found."""

from __future__ import annotations

import asyncio
from pathlib import Path

from api.containerd import Client
from e2e.harness.eventually import eventually
from tests.app.served import served
from tests.double import ContainerdDouble


async def test_recovery_and_janitor_are_exposed(containerd: ContainerdDouble, client: Client, tmp_path: Path):
    address = tmp_path / "m"
    left = tmp_path / "root" / "sandboxes" / ("ab" * 32)
    left.mkdir(parents=True)
    async with served(containerd, tmp_path, f'metrics.address = "unix://{address}"\n'):

        async def exposed() -> str:
            reader, writer = await asyncio.open_unix_connection(str(address))
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
            answer = await reader.read(-1)
            writer.close()
            return answer.decode()

        text = await eventually(
            exposed,
            lambda text: 'cri_shim_janitor_removed_total{kind="files of a sandbox"} 1.0' in text,
            "a round",
            30,
        )
    assert 'cri_shim_operation_duration_seconds_count{operation="Recover",result="ok"} 1.0' in text
    assert 'cri_shim_operation_duration_seconds_count{operation="Janitor",result="ok"}' in text
    assert 'cri_shim_janitor_found_total{kind="files of a sandbox"} 1.0' in text
    assert not left.exists()
