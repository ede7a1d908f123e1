"""`cri-shim image pull`: one PullImage, with what containerd tells meanwhile and what the server reports at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from api.containerd import Client, ContainerdError
from api.wire import criv1 as cri
from cri.app.image.progress import Bars, Lines, Progress, megabytes
from cri.concurrency.together import first_cause

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cri.app.image.progress import Display
    from cri.app.pod.node import Node

LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be pulled, and as whom."""

    reference: str
    runtime_handler: str = ""
    auth: cri.AuthConfig | None = None


async def pull(node: Node, containerd: str, wanted: Wanted, out: TextIO) -> str:
    """Pull and return the image id; `containerd` is the socket to look at for progress. Raises CriError."""
    image = cri.ImageSpec(image=wanted.reference, runtime_handler=wanted.runtime_handler)
    request = cri.PullImageRequest(image=image, auth=wanted.auth)
    display = Bars(out) if out.isatty() else Lines(out)
    try:
        async with Client(containerd) as client, asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(client, display), name="watch ingests")
            answer = await node.call(node.client.image.PullImage, request, None)
            watching.cancel()
    except BaseExceptionGroup as failures:
        raise first_cause(failures) from None
    out.writelines(f"{line}\n" for line in report_lines(await _report(node, answer.image_ref)))
    return answer.image_ref


async def _watch(client: Client, display: Display) -> None:
    """Show the layers under way. That containerd cannot be asked is no reason for the pull to fail."""
    progress = Progress()
    with contextlib.suppress(ContainerdError):
        others = {ingest.ref for ingest in await client.content.statuses()}
        try:
            while True:
                ingests = [each for each in await client.content.statuses() if each.ref not in others]
                display.show(progress.update(ingests))
                await asyncio.sleep(LOOK_SECONDS)
        except asyncio.CancelledError:
            display.show(progress.update([]))
            raise


async def _report(node: Node, image_id: str) -> Mapping[str, object]:
    """What the server tells of the image's last pull; empty of a server that tells nothing."""
    request = cri.ImageStatusRequest(image=cri.ImageSpec(image=image_id), verbose=True)
    answer = await node.call(node.client.image.ImageStatus, request)
    try:
        report = json.loads(answer.info["info"])["pull"]
    except (KeyError, ValueError, TypeError):
        return {}
    return report if isinstance(report, dict) else {}


def report_lines(report: Mapping[str, object]) -> list[str]:
    """The report in words; nothing of an empty one."""

    def number(key: str) -> float:
        value = report.get(key, 0)
        return float(value) if isinstance(value, (int, float)) else 0.0

    if not report:
        return []
    parts = [f"{part} {number(f'{part}_seconds'):.2f} s" for part in ("resolve", "fetch", "unpack")]
    return [
        f"pulled   {report.get('reference', '')}",
        f"digest   {report.get('digest', '')}",
        f"from     {report.get('host', '')}, by the {report.get('engine', 'local')} engine",
        f"layers   {number('layers'):.0f}, of which {number('reused_layers'):.0f} were there",
        f"bytes    {megabytes(int(number('size')))}, of which {megabytes(int(number('fetched_bytes')))} fetched",
        f"time     {number('seconds'):.2f} s: {', '.join(parts)}",
    ]
