"""One of the two servers, with what is needed to use it and to look at what it costs."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio

from api.wire import criv1
from cri.app.built_image import Entry, Image, Settings
from cri.app.host_images import busybox_image, pause_image
from cri.app.pause_program import pause_program
from cri.linux.process import processes
from e2e.bench.operation import Measurements, Operation
from e2e.harness.eventually import eventually
from e2e.harness.node import BUILT_IN, CRI_SHIM, Node, assemble
from e2e.harness.push import push
from e2e.harness.registry import Registry, registry
from e2e.harness.workload import Pod, Workloads

IMAGE = "bench/busybox:1"
UNMASKED = "unmasked"
"""A runtime handler whose pods are on the same network, but without ipMasq, which costs eight runs of iptables."""
LINE_BYTES = (20, 100, 1000)
LINE_FILE_BYTES = 8_000_000
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
UNTIL_STOPPED = ("/until-stopped",)
"""Ends at once when asked to, so that StopContainer measures the server and not the container."""


@dataclass(slots=True)
class Contender:
    """A server under measurement."""

    name: str
    node: Node
    measurements: Measurements
    workloads: Workloads
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def runtime(self) -> criv1.RuntimeServiceStub:
        """The runtime service."""
        return self.node.cri.runtime

    @property
    def image(self) -> criv1.ImageServiceStub:
        """The image service."""
        return self.node.cri.image

    @contextlib.asynccontextmanager
    async def timed(self, operation: Operation) -> AsyncIterator[None]:
        """Note how many milliseconds the block takes."""
        began = time.perf_counter()
        yield
        self.measurements.add(operation, self.name, (time.perf_counter() - began) * 1000)

    def unique(self, name: str) -> str:
        """A name that was not used before."""
        return f"{name}-{next(self._numbers)}"

    async def pod(self, *, host_network: bool = False, handler: str = "") -> Pod:
        """Run a pod sandbox under a new name."""
        return await self.workloads.pod(self.unique("pod"), handler, host_network=host_network)

    async def offer_unmasked(self) -> None:
        """Write the network of the handler UNMASKED, and wait until the server has read it."""
        conflist = json.loads(self.node.containerd.layout.cni_conf_file.read_text())
        conflist["plugins"][0]["ipMasq"] = False
        directory = unmasked_directory(self.node.directory.parent)
        directory.mkdir(exist_ok=True)
        (directory / "10-unmasked.conflist").write_text(json.dumps(conflist))
        pod = await eventually(self._unmasked_pod, lambda made: made is not None, "a pod without ipMasq")
        assert pod is not None
        await self.workloads.remove([pod])

    async def _unmasked_pod(self) -> Pod | None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            return await self.pod(handler=UNMASKED)
        return None

    def helpers(self) -> list[int]:
        """Processes beside the server that do a part of its work: the log keeper."""
        state = str(self.node.directory)
        return [
            pid
            for pid, command in processes()
            if state in " ".join(command) and "keeper" in " ".join(command)
        ]

    def processor_seconds(self) -> float:
        """Processor time used so far by the server and its helpers."""
        return sum(_processor_seconds(pid) for pid in (self.node.server.pid, *self.helpers()))

    def resident_mebibytes(self, pids: Sequence[int]) -> float:
        """Resident memory of processes."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
        return pages * PAGE_BYTES / (1 << 20)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


@contextlib.asynccontextmanager
async def contenders(
    home: Path, measurements: Measurements
) -> AsyncIterator[tuple[Registry, list[Contender]]]:
    """Both servers on one registry, with their images pulled."""
    async with contextlib.AsyncExitStack() as stack:
        shelf = await stack.enter_async_context(registry(home / "registry"))
        await push(shelf, "pause", "1", pause_image())
        await push(shelf, "bench/busybox", "1", measured_image())
        both = []
        for name in (BUILT_IN, CRI_SHIM):
            place = home / name
            node = await assemble(
                stack,
                name,
                place,
                shelf,
                busybox=f"{shelf.host}/{IMAGE}",
                networks={UNMASKED: str(unmasked_directory(place))},
                log_level="info",  # what it is by default; containerd's is, too
            )
            workloads = Workloads(node.cri, home / name / "logs", node.busybox, node.cgroup_parent)
            both.append(Contender(name, node, measurements, workloads))
        yield shelf, both


def unmasked_directory(home: Path) -> Path:
    """Where the CNI configuration of UNMASKED is."""
    return home / "unmasked.d"


def measured_image() -> Image:
    """Busybox, a program that waits to be stopped, and files of lines to print."""
    program = pause_program(os.uname().machine)
    waiting = Entry("until-stopped", program or b"#!/bin/sh\ntrap 'exit 0' TERM\nsleep 86400 & wait $!\n")
    lines = [
        Entry(f"lines-{size}", (b"x" * (size - 1) + b"\n") * (LINE_FILE_BYTES // size), mode=0o644)
        for size in LINE_BYTES
    ]
    return busybox_image((waiting, *lines), Settings(command=("sh",)))
