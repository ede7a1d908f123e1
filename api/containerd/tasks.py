"""Tasks: the running side of containers. One init process each, and any number of exec processes beside it.

The order of a life is create, wait (a long call, best started before start), start, exit, delete. An exec_id
of "" means the init process everywhere. Output goes to FIFOs that the caller makes and opens for reading
first; with no terminal, stdout and stderr are given both or neither.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.containerd import descriptors, mounts, times, typed_value
from api.containerd.calls import Link, Unary
from api.wire.containerd import process_pb2, tasks_pb2, tasks_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from api.containerd.descriptors import Descriptor
    from api.containerd.mounts import Mount
    from api.containerd.typed_value import TypedValue


class ProcessStatus(enum.IntEnum):
    """The states of a process; numbers as on the wire."""

    UNKNOWN = 0
    CREATED = 1
    RUNNING = 2
    STOPPED = 3
    PAUSED = 4
    PAUSING = 5


@dataclass(frozen=True, slots=True)
class Process:
    """What a shim says of one process."""

    container_id: str
    exec_id: str
    """Empty for the init process."""
    pid: int
    """In the host's PID namespace; 0 for an exec that was not started."""
    status: ProcessStatus
    exit_status: int
    exited_at: int
    """Unix nanoseconds; 0 while it lives."""
    stdin: str
    stdout: str
    stderr: str
    terminal: bool


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended."""

    pid: int
    """0 where the call does not tell (wait)."""
    status: int
    """Exit code, 128 + the signal that killed it, or 255 where nobody knows."""
    at: int
    """Unix nanoseconds."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A container's resource use at one moment."""

    container_id: str
    timestamp: int
    """Unix nanoseconds."""
    data: TypedValue
    """`io.containerd.cgroups.v1.Metrics` or `.v2.Metrics` for runc; other runtimes may send others."""


class Tasks:
    """The tasks of one namespace."""

    def __init__(self, link: Link) -> None:
        stub = link.stub(tasks_pb2_grpc.TasksStub)
        self._create = Unary(link, stub.Create, "Tasks", "Create")
        self._start = Unary(link, stub.Start, "Tasks", "Start")
        self._get = Unary(link, stub.Get, "Tasks", "Get")
        self._list = Unary(link, stub.List, "Tasks", "List")
        self._kill = Unary(link, stub.Kill, "Tasks", "Kill")
        self._delete = Unary(link, stub.Delete, "Tasks", "Delete")
        self._delete_process = Unary(link, stub.DeleteProcess, "Tasks", "DeleteProcess")
        self._exec = Unary(link, stub.Exec, "Tasks", "Exec")
        self._resize = Unary(link, stub.ResizePty, "Tasks", "ResizePty")
        self._close_io = Unary(link, stub.CloseIO, "Tasks", "CloseIO")
        self._pids = Unary(link, stub.ListPids, "Tasks", "ListPids")
        self._pause = Unary(link, stub.Pause, "Tasks", "Pause")
        self._resume = Unary(link, stub.Resume, "Tasks", "Resume")
        self._checkpoint = Unary(link, stub.Checkpoint, "Tasks", "Checkpoint")
        self._update = Unary(link, stub.Update, "Tasks", "Update")
        self._metrics = Unary(link, stub.Metrics, "Tasks", "Metrics")
        self._wait = Unary(link, stub.Wait, "Tasks", "Wait")

    async def create(
        self,
        container_id: str,
        *,
        mounts: Sequence[Mount],
        stdin: str = "",
        stdout: str = "",
        stderr: str = "",
        terminal: bool = False,
        options: TypedValue | None = None,
        checkpoint: Descriptor | None = None,
        timeout: float | None = None,
    ) -> int:
        """Make the container's init process, held before its program; the answer is its PID.

        `mounts` is the root file system: the daemon does not look it up from the record. `options` replaces
        the record's runtime options for this task. Raises NotFound (no record), AlreadyExists (has a task),
        Unknown (whatever runc or the shim says).
        """
        request = tasks_pb2.CreateTaskRequest(
            container_id=container_id,
            rootfs=_mounts_to_wire(mounts),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            terminal=terminal,
            options=typed_value.to_wire(options),
            checkpoint=None if checkpoint is None else descriptors.to_wire(checkpoint),
        )
        return (await self._create(request, timeout)).pid

    async def start(self, container_id: str, exec_id: str = "", *, timeout: float | None = None) -> int:
        """Run the program; the answer is the PID. A program that cannot be executed fails here."""
        request = tasks_pb2.StartRequest(container_id=container_id, exec_id=exec_id)
        return (await self._start(request, timeout)).pid

    async def get(self, container_id: str, exec_id: str = "", *, timeout: float | None = None) -> Process:
        """The state of a process. Raises NotFound."""
        request = tasks_pb2.GetRequest(container_id=container_id, exec_id=exec_id)
        return _process_from_wire((await self._get(request, timeout)).process, container_id, exec_id)

    async def kill(
        self,
        container_id: str,
        signal: int,
        *,
        exec_id: str = "",
        everything: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Send a (Linux) signal to a process, or with `everything` to all of the container.

        Raises NotFound when it has ended or never was.
        """
        request = tasks_pb2.KillRequest(
            container_id=container_id, exec_id=exec_id, signal=signal, all=everything
        )
        await self._kill(request, timeout)

    async def delete(self, container_id: str, *, timeout: float | None = None) -> Exit:
        """Remove a stopped task (and its shim, if that was its last). Raises NotFound, Unknown if it runs."""
        return _exit_from_wire(
            await self._delete(tasks_pb2.DeleteTaskRequest(container_id=container_id), timeout)
        )

    async def delete_process(self, container_id: str, exec_id: str, *, timeout: float | None = None) -> Exit:
        """Remove an exec process that has ended or never started. Raises NotFound, Unknown if it runs."""
        request = tasks_pb2.DeleteProcessRequest(container_id=container_id, exec_id=exec_id)
        return _exit_from_wire(await self._delete_process(request, timeout))

    async def exec(
        self,
        container_id: str,
        exec_id: str,
        process: TypedValue,
        *,
        stdin: str = "",
        stdout: str = "",
        stderr: str = "",
        terminal: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Add a process to a running task; `start` runs it. `process` is JSON of PROCESS_TYPE_URL.

        Raises NotFound, AlreadyExists.
        """
        request = tasks_pb2.ExecProcessRequest(
            container_id=container_id,
            exec_id=exec_id,
            spec=typed_value.to_wire(process),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            terminal=terminal,
        )
        await self._exec(request, timeout)

    async def resize(
        self,
        container_id: str,
        width: int,
        height: int,
        exec_id: str = "",
        *,
        timeout: float | None = None,
    ) -> None:
        """Set a terminal's size in characters."""
        request = tasks_pb2.ResizePtyRequest(
            container_id=container_id, exec_id=exec_id, width=width, height=height
        )
        await self._resize(request, timeout)

    async def close_io(self, container_id: str, exec_id: str = "", *, timeout: float | None = None) -> None:
        """Close the shim's own end of stdin; without it the process never sees end of file there."""
        request = tasks_pb2.CloseIORequest(container_id=container_id, exec_id=exec_id, stdin=True)
        await self._close_io(request, timeout)

    async def pids(self, container_id: str, *, timeout: float | None = None) -> list[int]:
        """The PIDs of everything in the container's cgroup."""
        answer = await self._pids(tasks_pb2.ListPidsRequest(container_id=container_id), timeout)
        return [process.pid for process in answer.processes]

    async def pause(self, container_id: str, *, timeout: float | None = None) -> None:
        """Freeze all processes."""
        await self._pause(tasks_pb2.PauseTaskRequest(container_id=container_id), timeout)

    async def resume(self, container_id: str, *, timeout: float | None = None) -> None:
        """Thaw all processes."""
        await self._resume(tasks_pb2.ResumeTaskRequest(container_id=container_id), timeout)

    async def checkpoint(
        self,
        container_id: str,
        *,
        options: TypedValue | None = None,
        parent: str = "",
        timeout: float | None = None,
    ) -> list[Descriptor]:
        """Write the processes' state into the content store, or where the options' `image_path` says."""
        request = tasks_pb2.CheckpointTaskRequest(
            container_id=container_id, parent_checkpoint=parent, options=typed_value.to_wire(options)
        )
        answer = await self._checkpoint(request, timeout)
        return [descriptors.from_wire(descriptor) for descriptor in answer.descriptors]

    async def update(
        self,
        container_id: str,
        resources: TypedValue,
        annotations: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        """Change the limits of a running task; `resources` is JSON of LINUX_RESOURCES_TYPE_URL."""
        request = tasks_pb2.UpdateTaskRequest(
            container_id=container_id, resources=typed_value.to_wire(resources), annotations=annotations or {}
        )
        await self._update(request, timeout)

    async def metrics(self, *filters: str, timeout: float | None = None) -> list[Metric]:
        """Resource use of the tasks that match any filter (`id==...`); without a filter, of all."""
        answer = await self._metrics(tasks_pb2.MetricsRequest(filters=filters), timeout)
        return [
            Metric(metric.id, times.from_wire(metric.timestamp), typed_value.from_wire(metric.data))
            for metric in answer.metrics
        ]

    async def wait(self, container_id: str, exec_id: str = "", *, timeout: float | None = None) -> Exit:
        """Wait for a process's end, as long as it takes. Raises NotFound, Unavailable (daemon restarted)."""
        request = tasks_pb2.WaitRequest(container_id=container_id, exec_id=exec_id)
        answer = await self._wait(request, timeout)
        return Exit(0, answer.exit_status, times.from_wire(answer.exited_at))

    async def list(self, *, timeout: float | None = None) -> list[Process]:
        """The init processes of all tasks; the daemon asks each shim, so one that hangs holds this up."""
        answer = await self._list(tasks_pb2.ListTasksRequest(), timeout)
        # In lists the daemon puts the container's ID into `id` and leaves `container_id` empty.
        return [_process_from_wire(task, task.container_id or task.id, "") for task in answer.tasks]


_mounts_to_wire = mounts.to_wire


def _process_from_wire(process: process_pb2.Process, container_id: str, exec_id: str) -> Process:
    return Process(
        container_id=container_id,
        exec_id=exec_id,
        pid=process.pid,
        status=ProcessStatus(process.status),
        exit_status=process.exit_status,
        exited_at=times.from_wire(process.exited_at),
        stdin=process.stdin,
        stdout=process.stdout,
        stderr=process.stderr,
        terminal=process.terminal,
    )


def _exit_from_wire(answer: tasks_pb2.DeleteResponse) -> Exit:
    return Exit(answer.pid, answer.exit_status, times.from_wire(answer.exited_at))
