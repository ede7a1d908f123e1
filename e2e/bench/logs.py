"""Measurements of container output: how fast it reaches the log file, and what that costs."""

from __future__ import annotations

import time
from pathlib import Path

from e2e.bench import operation as op
from e2e.bench.contender import LINE_FILE_BYTES, Contender
from e2e.harness.eventually import eventually

END = b" END\n"
PATIENCE_SECONDS = 120.0
LONGER = {1000: 4}
"""Long lines go so fast that the container's start would be a good part of what is measured."""


async def output(contender: Contender, line_bytes: int, repetitions: int) -> None:
    """Print a file of lines again and again, and wait until the last of them is in the log."""
    pod = await contender.pod(host_network=True)
    copies = " ".join(f"/lines-{line_bytes}" for _ in range(repetitions))
    # The container lives on: the end of its output is to be measured and not the end of the container.
    command = ["sh", "-c", f"cat {copies}; echo END; exec /until-stopped"]
    container = await pod.create(command=command)
    spent = contender.processor_seconds()
    began = time.perf_counter()
    await container.start()
    await _ended(container.log_file)
    seconds = time.perf_counter() - began
    spent = contender.processor_seconds() - spent
    megabytes = repetitions * LINE_FILE_BYTES / 1e6
    contender.measurements.add(op.log_speed(line_bytes), contender.name, megabytes / seconds)
    contender.measurements.add(op.log_cost(line_bytes), contender.name, spent * 1000 / megabytes)
    await contender.workloads.remove([pod])
    container.log_file.unlink()


async def _ended(file: Path) -> None:
    async def look() -> bytes:
        return _last_bytes(file)

    await eventually(look, lambda seen: seen == END, f"{file} complete", PATIENCE_SECONDS)


def _last_bytes(file: Path) -> bytes:
    if not file.exists():
        return b""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - len(END)))
        return opened.read()
