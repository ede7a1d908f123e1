"""What a reboot does, done to some pods while the server is away: processes, namespaces and mounts are gone."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from api.containerd import Client
from api.containerd import Container as ContainerdContainer
from api.containerd import errors as containerd_errors
from cri.linux.mounts import unmount
from cri.state.pins import PINS_EXTENSION
from cri.state.records import SandboxRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.harness.node import Node
    from e2e.harness.workload import Container, Pod


async def reboot(node: Node, pods: Sequence[Pod], containers: Sequence[Container] = ()) -> None:
    """Make it so that the pods are of an earlier boot.

    Their network namespaces stay: firewall rules, which a reboot clears, can only be released with them.
    """
    async with Client(node.containerd.address, "k8s.io") as client:
        for identifier in [each.id for each in (*containers, *pods)]:
            with contextlib.suppress(containerd_errors.NotFound):
                await client.tasks.kill(identifier, 9, everything=True)
                await client.tasks.wait(identifier, timeout=10)
                await client.tasks.delete(identifier)
        for pod in pods:
            record = SandboxRecord.from_containerd(await client.containers.get(pod.id))
            if record.pins is None:
                continue
            for path in record.pins:
                unmount(Path(path))
            pins = replace(record.pins, boot_id="the one before")
            update = ContainerdContainer(id=pod.id, extensions={PINS_EXTENSION: pins.to_extension()})
            await client.containers.update(update, f"extensions.{PINS_EXTENSION}")
