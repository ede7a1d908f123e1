"""ContainerdDouble: a containerd in memory, served over a real unix socket with the real protos.

It behaves as the 1.6 line does (states, error codes, events, leases, garbage collection); containers are fake
processes that follow a script. On top of that a test can make calls fail, hang or lose their answers, see every
call that was made, take the daemon away and bring it back, and ask what is left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import grpc
import grpc.aio
from google.protobuf import any_pb2

from api.wire.containerd import (
    containers_pb2_grpc,
    content_pb2_grpc,
    diff_pb2_grpc,
    event_types_pb2,
    events_pb2_grpc,
    images_pb2_grpc,
    introspection_pb2,
    introspection_pb2_grpc,
    leases_pb2_grpc,
    namespaces_pb2_grpc,
    snapshots_pb2_grpc,
    tasks_pb2_grpc,
    version_pb2_grpc,
)
from cri.concurrency.supervision import Supervisor
from tests.double import garbage
from tests.double.calls import Call, Fault, Hang, Interceptor
from tests.double.exchange import Exchange
from tests.double.processes import FakeProcess
from tests.double.refusals import Refusal
from tests.double.scripts import Script, default_script
from tests.double.services.about import IntrospectionService, VersionService
from tests.double.services.containers import ContainersService
from tests.double.services.content import ContentService
from tests.double.services.diff import DiffService
from tests.double.services.events import EventsService
from tests.double.services.images import ImagesService
from tests.double.services.leases import LeasesService
from tests.double.services.namespaces import NamespacesService
from tests.double.services.snapshots import SnapshotsService
from tests.double.services.tasks import TasksService
from tests.double.state import State

MESSAGE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What a namespace still holds, by name; false when that is nothing."""

    containers: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    execs: tuple[str, ...] = ()
    """Container ID, slash, exec ID."""
    snapshots: tuple[str, ...] = ()
    """Snapshotter, slash, key."""
    leases: tuple[str, ...] = ()
    ingests: tuple[str, ...] = ()
    shims: tuple[str, ...] = ()
    """Without a task."""
    images: tuple[str, ...] = ()
    content: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))


class ContainerdDouble:
    """`async with ContainerdDouble() as double:` serves on `double.address`."""

    def __init__(self, socket: str | None = None) -> None:
        """`socket` is where to listen; without it a place in the double's own directory."""
        # Socket paths are limited to 107 bytes, which pytest's own temporary directories may exceed.
        self.directory = Path(tempfile.mkdtemp(prefix="containerd-double-", dir="/tmp"))
        self.address = socket or str(self.directory / "containerd.sock")
        self.state = State(self.directory / "root")
        self.exchange = Exchange()
        self.eager_collection = False
        """Collect garbage after each call: what nothing holds is gone at once."""
        self._interceptor = Interceptor(self._after_call)
        self._supervisor = Supervisor()
        self._scripts: dict[tuple[str, str], Script] = {}
        self._tasks = TasksService(self.state, self.exchange, self._supervisor, self._cast)
        self._introspection = IntrospectionService(self.state)
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        for namespace in self.state.namespaces.values():
            for task in namespace.tasks.values():
                task.release()
        await self._supervisor.close()
        await asyncio.to_thread(shutil.rmtree, self.directory)

    async def start(self) -> None:
        """Serve; after `stop` with everything as it was."""
        server = grpc.aio.server(
            interceptors=[self._interceptor],
            options=[
                ("grpc.max_receive_message_length", MESSAGE_BYTES),
                ("grpc.max_send_message_length", MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
            ],
        )
        self._register(server)
        server.add_insecure_port(f"unix:{self.address}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Break off all calls and go away, as a killed daemon does; containers live on."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.address)

    # -- what is inside

    def script(self, container_id: str, script: Script, *, exec_id: str = "") -> None:
        """What a process to be created does. "*" stands for any container or any exec."""
        self._scripts[container_id, exec_id] = script

    def process(self, container_id: str, exec_id: str = "", *, namespace: str = "k8s.io") -> FakeProcess:
        """A process that was created, to be looked at, fed or ended. Raises KeyError."""
        task = self.state.namespace(namespace).tasks[container_id]
        return task.execs[exec_id] if exec_id else task.init

    def out_of_memory(self, container_id: str, *, namespace: str = "k8s.io") -> None:
        """The kernel kills the container's process, and the daemon tells."""
        event = event_types_pb2.TaskOOM(container_id=container_id)
        self.exchange.publish(namespace, "/tasks/oom", event)
        self.process(container_id, namespace=namespace).exit(137)

    @property
    def metrics(self) -> dict[str, any_pb2.Any]:
        """What Tasks.Metrics says, by container ID, where a test sets it."""
        return self._tasks.metrics

    @property
    def plugins(self) -> list[introspection_pb2.Plugin]:
        """What Introspection.Plugins says; may be changed."""
        return self._introspection.plugins

    # -- what was called

    @property
    def calls(self) -> list[Call]:
        """All calls so far, in the order in which they came in; may be cleared."""
        return self._interceptor.calls

    def methods(self, *, without: Sequence[str] = ()) -> list[str]:
        """The names of the calls so far, such as "Tasks.Start"."""
        return [call.method for call in self.calls if call.method not in without]

    # -- what goes wrong

    def fail(
        self,
        method: str,
        code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
        message: str = "fault on request",
        *,
        times: int | None = 1,
        skip: int = 0,
    ) -> None:
        """Refuse the next calls of `method` ("Tasks.Start", "Tasks.*", "*") without any effect."""
        self._interceptor.faults.append(Fault(method, _refuse(code, message), times, skip))

    def lose_answer(
        self,
        method: str,
        code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
        *,
        times: int | None = 1,
        skip: int = 0,
    ) -> None:
        """Let the next calls of `method` have their effect, but answer with an error."""
        fault = Fault(method, _refuse(code, "answer lost on request"), times, skip, late=True)
        self._interceptor.faults.append(fault)

    def hang(self, method: str, *, times: int | None = None, skip: int = 0) -> Hang:
        """Hold the next calls of `method` before they have any effect, until released."""
        hang = Hang()
        self._interceptor.faults.append(Fault(method, hang.wait, times, skip))
        return hang

    def delay(self, method: str, seconds: float, *, times: int | None = None) -> None:
        """Make calls of `method` take longer."""
        self._interceptor.faults.append(Fault(method, lambda: asyncio.sleep(seconds), times))

    def break_off_delete(self, container_id: str, *, namespace: str = "k8s.io") -> None:
        """What is left when the caller of Tasks.Delete is killed in mid-call.

        The shim has deleted the task and is not told to end; another Tasks.Delete would tell it.
        """
        held = self.state.namespace(namespace)
        held.tasks.pop(container_id).release()
        held.empty_shims.add(container_id)

    def heal(self) -> None:
        """Forget all faults that were asked for; what hangs goes on hanging until released."""
        self._interceptor.faults.clear()

    # -- what remains

    def collect_garbage(self) -> list[str]:
        """Run the garbage collector now; the answer names what it removed."""
        return garbage.collect(self.state)

    def leftovers(self, namespace: str = "k8s.io") -> Leftovers:
        """What is there."""
        held = self.state.namespace(namespace)
        return Leftovers(
            containers=tuple(held.containers),
            tasks=tuple(held.tasks),
            execs=tuple(f"{name}/{exec_id}" for name, task in held.tasks.items() for exec_id in task.execs),
            snapshots=tuple(f"{name}/{key}" for name, keys in held.snapshots.items() for key in keys),
            leases=tuple(held.leases),
            ingests=tuple(held.ingests),
            shims=tuple(held.empty_shims),
            images=tuple(held.images),
            content=tuple(held.blobs),
        )

    def _cast(self, container_id: str, exec_id: str, args: list[str]) -> Script:
        wildcard = "*" if exec_id else ""
        for key in ((container_id, exec_id), (container_id, wildcard), ("*", exec_id), ("*", wildcard)):
            if key in self._scripts:
                return self._scripts[key]
        return default_script(args)

    def _after_call(self) -> None:
        if self.eager_collection:
            self.collect_garbage()

    def _register(self, server: grpc.aio.Server) -> None:
        state, exchange = self.state, self.exchange
        containers_pb2_grpc.add_ContainersServicer_to_server(ContainersService(state, exchange), server)
        content_pb2_grpc.add_ContentServicer_to_server(ContentService(state, exchange), server)
        diff_pb2_grpc.add_DiffServicer_to_server(DiffService(state), server)
        events_pb2_grpc.add_EventsServicer_to_server(EventsService(exchange), server)
        images = ImagesService(state, exchange, self.collect_garbage)
        images_pb2_grpc.add_ImagesServicer_to_server(images, server)
        introspection_pb2_grpc.add_IntrospectionServicer_to_server(self._introspection, server)
        leases_pb2_grpc.add_LeasesServicer_to_server(LeasesService(state, self.collect_garbage), server)
        namespaces_pb2_grpc.add_NamespacesServicer_to_server(NamespacesService(state, exchange), server)
        snapshots_pb2_grpc.add_SnapshotsServicer_to_server(SnapshotsService(state, exchange), server)
        tasks_pb2_grpc.add_TasksServicer_to_server(self._tasks, server)
        version_pb2_grpc.add_VersionServicer_to_server(VersionService(), server)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something in the double has come true; TimeoutError if it does not."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions over plain data have no event
            await asyncio.sleep(0.001)


def _refuse(code: grpc.StatusCode, message: str) -> Callable[[], Awaitable[None]]:
    async def refuse() -> NoReturn:
        raise Refusal(code, message)

    return refuse
