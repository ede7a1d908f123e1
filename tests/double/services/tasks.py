"""Tasks: fake processes under the states, errors and events of the runc shim."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf import any_pb2, empty_pb2

from api.wire.cgroups import v1_pb2
from api.wire.containerd import event_types_pb2, process_pb2, runc_pb2, tasks_pb2, tasks_pb2_grpc, types_pb2
from cri.concurrency.supervision import Supervisor
from tests.double.calls import Context, caller
from tests.double.exchange import Exchange
from tests.double.filters import compile_filters, lookup_in
from tests.double.processes import FIRST_PID, FakeProcess, Streams, Task
from tests.double.refusals import already_exists, found, invalid_argument, not_found, unknown
from tests.double.scripts import Script
from tests.double.state import Namespace, State, now, timestamp

Casting = Callable[[str, str, list[str]], Script]
"""Gives the script of a process: container ID, exec ID ("" for init), args."""


class TasksService(tasks_pb2_grpc.TasksServicer):
    """containerd.services.tasks.v1.Tasks"""

    def __init__(self, state: State, exchange: Exchange, supervisor: Supervisor, casting: Casting) -> None:
        self._state = state
        self._exchange = exchange
        self._supervisor = supervisor
        self._casting = casting
        self.metrics: dict[str, any_pb2.Any] = {}
        """What Metrics says of a container, by ID, instead of the default figures."""

    async def Create(
        self, request: tasks_pb2.CreateTaskRequest, context: Context
    ) -> tasks_pb2.CreateTaskResponse:
        namespace, container_id = self._namespace(), request.container_id
        container = found(
            namespace.containers.get(container_id),
            f'container "{container_id}" in namespace "{namespace.name}"',
        )
        if container_id in namespace.tasks:
            raise already_exists(f"task {container_id}")
        spec = json.loads(container.spec.value)
        init = self._process(container_id, "", _streams(request), spec.get("process", {}))
        if init.script.create_error:
            raise unknown(
                f"failed to create shim task: OCI runtime create failed: {init.script.create_error}"
            )
        await init.open_streams()
        init.pid = self._next_pid()
        bundle = f"/run/containerd/io.containerd.runtime.v2.task/{namespace.name}/{container_id}"
        namespace.tasks[container_id] = Task(init, bundle)
        self._publish(
            "/tasks/create",
            event_types_pb2.TaskCreate(
                container_id=container_id,
                bundle=bundle,
                rootfs=request.rootfs,
                io=event_types_pb2.TaskIO(
                    stdin=request.stdin,
                    stdout=request.stdout,
                    stderr=request.stderr,
                    terminal=request.terminal,
                ),
                pid=init.pid,
            ),
        )
        return tasks_pb2.CreateTaskResponse(container_id=container_id, pid=init.pid)

    async def Start(self, request: tasks_pb2.StartRequest, context: Context) -> tasks_pb2.StartResponse:
        process = self._find(request.container_id).process(request.exec_id)
        if process.script.start_error:
            what = "exec" if request.exec_id else "start"
            raise unknown(f"OCI runtime {what} failed: {process.script.start_error}")
        if request.exec_id and process.status == process_pb2.CREATED:
            await process.open_streams()
            process.pid = self._next_pid()
        process.start(self._supervisor)
        if request.exec_id:
            self._publish(
                "/tasks/exec-started",
                event_types_pb2.TaskExecStarted(
                    container_id=request.container_id, exec_id=request.exec_id, pid=process.pid
                ),
            )
        else:
            self._publish(
                "/tasks/start",
                event_types_pb2.TaskStart(container_id=request.container_id, pid=process.pid),
            )
        return tasks_pb2.StartResponse(pid=process.pid)

    async def Delete(
        self, request: tasks_pb2.DeleteTaskRequest, context: Context
    ) -> tasks_pb2.DeleteResponse:
        namespace = self._namespace()
        if request.container_id not in namespace.containers:
            raise not_found(f'container "{request.container_id}" in namespace "{namespace.name}"')
        namespace.empty_shims.discard(request.container_id)
        task = self._find(request.container_id)
        self._check_deletable(task.init)
        task.release()
        del namespace.tasks[request.container_id]
        self._publish(
            "/tasks/delete",
            event_types_pb2.TaskDelete(
                container_id=request.container_id,
                pid=task.init.pid,
                exit_status=task.init.exit_status,
                exited_at=timestamp(task.init.exited_at),
            ),
        )
        return _deleted(task.init)

    async def DeleteProcess(
        self, request: tasks_pb2.DeleteProcessRequest, context: Context
    ) -> tasks_pb2.DeleteResponse:
        task = self._find(request.container_id)
        process = task.process(request.exec_id)
        self._check_deletable(process)
        process.release()
        task.execs.pop(request.exec_id, None)
        return _deleted(process)

    async def Get(self, request: tasks_pb2.GetRequest, context: Context) -> tasks_pb2.GetResponse:
        task = self._find(request.container_id)
        return tasks_pb2.GetResponse(process=_to_wire(task, task.process(request.exec_id)))

    async def List(
        self, request: tasks_pb2.ListTasksRequest, context: Context
    ) -> tasks_pb2.ListTasksResponse:
        tasks = sorted(self._namespace().tasks.items())
        return tasks_pb2.ListTasksResponse(tasks=[_to_wire(task, task.init) for _, task in tasks])

    async def Kill(self, request: tasks_pb2.KillRequest, context: Context) -> empty_pb2.Empty:
        task = self._find(request.container_id)
        process = task.process(request.exec_id)
        process.kill(request.signal)
        if request.all:
            for other in _running(task.execs.values()):
                other.kill(request.signal)
        return empty_pb2.Empty()

    async def Exec(self, request: tasks_pb2.ExecProcessRequest, context: Context) -> empty_pb2.Empty:
        if not request.exec_id:
            raise invalid_argument("exec id cannot be empty")
        task = self._find(request.container_id)
        if request.exec_id in task.execs:
            raise already_exists(f"id {request.exec_id}")
        if task.paused or task.init.status == process_pb2.STOPPED:
            state = "paused" if task.paused else "stopped"
            raise unknown(f"cannot exec in a {state} state")
        process = json.loads(request.spec.value)
        task.execs[request.exec_id] = self._process(
            request.container_id, request.exec_id, _streams(request), process
        )
        self._publish(
            "/tasks/exec-added",
            event_types_pb2.TaskExecAdded(container_id=request.container_id, exec_id=request.exec_id),
        )
        return empty_pb2.Empty()

    async def ResizePty(self, request: tasks_pb2.ResizePtyRequest, context: Context) -> empty_pb2.Empty:
        process = self._find(request.container_id).process(request.exec_id)
        if request.exec_id and process.status == process_pb2.STOPPED:
            raise unknown("cannot resize a stopped container")
        process.size = (request.width, request.height)
        return empty_pb2.Empty()

    async def CloseIO(self, request: tasks_pb2.CloseIORequest, context: Context) -> empty_pb2.Empty:
        process = self._find(request.container_id).process(request.exec_id)
        if request.stdin:
            process.close_stdin()
        return empty_pb2.Empty()

    async def Pause(self, request: tasks_pb2.PauseTaskRequest, context: Context) -> empty_pb2.Empty:
        task = self._find(request.container_id)
        if task.paused or task.init.status != process_pb2.RUNNING:
            raise unknown(f"cannot pause a {_state_name(task)} container")
        task.paused = True
        self._publish("/tasks/paused", event_types_pb2.TaskPaused(container_id=request.container_id))
        return empty_pb2.Empty()

    async def Resume(self, request: tasks_pb2.ResumeTaskRequest, context: Context) -> empty_pb2.Empty:
        task = self._find(request.container_id)
        if not task.paused:
            raise unknown(f"cannot resume a {_state_name(task)} process")
        task.paused = False
        self._publish("/tasks/resumed", event_types_pb2.TaskResumed(container_id=request.container_id))
        return empty_pb2.Empty()

    async def ListPids(
        self, request: tasks_pb2.ListPidsRequest, context: Context
    ) -> tasks_pb2.ListPidsResponse:
        task = self._find(request.container_id)
        processes = [process_pb2.ProcessInfo(pid=init.pid) for init in _running([task.init])]
        for process in _running(task.execs.values()):
            details = runc_pb2.ProcessDetails(exec_id=process.exec_id)
            info = any_pb2.Any(type_url=details.DESCRIPTOR.full_name, value=details.SerializeToString())
            processes.append(process_pb2.ProcessInfo(pid=process.pid, info=info))
        return tasks_pb2.ListPidsResponse(processes=processes)

    async def Checkpoint(
        self, request: tasks_pb2.CheckpointTaskRequest, context: Context
    ) -> tasks_pb2.CheckpointTaskResponse:
        self._find(request.container_id)
        raise unknown('runc checkpoint failed: exec: "criu": executable file not found in $PATH')

    async def Update(self, request: tasks_pb2.UpdateTaskRequest, context: Context) -> empty_pb2.Empty:
        task = self._find(request.container_id)
        if task.init.status == process_pb2.STOPPED:
            raise unknown("cannot update a stopped container")
        task.resources = json.loads(request.resources.value)
        return empty_pb2.Empty()

    async def Metrics(self, request: tasks_pb2.MetricsRequest, context: Context) -> tasks_pb2.MetricsResponse:
        matches = compile_filters(request.filters)
        namespace = self._namespace()
        return tasks_pb2.MetricsResponse(
            metrics=[
                types_pb2.Metric(
                    id=container_id,
                    timestamp=timestamp(now()),
                    data=self.metrics.get(container_id) or _default_metrics(),
                )
                for container_id in sorted(namespace.tasks)
                if matches(lookup_in({"id": container_id, "namespace": namespace.name}))
            ]
        )

    async def Wait(self, request: tasks_pb2.WaitRequest, context: Context) -> tasks_pb2.WaitResponse:
        process = self._find(request.container_id).process(request.exec_id)
        await process.exited.wait()
        return tasks_pb2.WaitResponse(exit_status=process.exit_status, exited_at=timestamp(process.exited_at))

    def _namespace(self) -> Namespace:
        return self._state.namespace(caller().namespace)

    def _find(self, container_id: str) -> Task:
        namespace = self._namespace()
        if container_id not in namespace.containers and container_id not in namespace.tasks:
            raise not_found(f'container "{container_id}" in namespace "{namespace.name}"')
        return found(
            namespace.tasks.get(container_id), f"no running task found: task {container_id} not found"
        )

    def _process(
        self, container_id: str, exec_id: str, streams: Streams, process: dict[str, Any]
    ) -> FakeProcess:
        script = self._casting(container_id, exec_id, list(process.get("args", [])))
        namespace = caller().namespace
        return FakeProcess(
            container_id, exec_id, streams, script, process, lambda ended: self._ended(namespace, ended)
        )

    def _ended(self, namespace: str, process: FakeProcess) -> None:
        task = self._state.namespace(namespace).tasks.get(process.container_id)
        if task is not None and not process.exec_id:
            task.paused = False
            # The end of a PID namespace's first process is the end of all others in it.
            for other in _running(task.execs.values()):
                other.exit(137)
        self._exchange.publish(
            namespace,
            "/tasks/exit",
            event_types_pb2.TaskExit(
                container_id=process.container_id,
                id=process.exec_id or process.container_id,
                pid=process.pid,
                exit_status=process.exit_status,
                exited_at=timestamp(process.exited_at),
            ),
        )

    def _next_pid(self) -> int:
        return FIRST_PID + self._state.next_number()

    def _check_deletable(self, process: FakeProcess) -> None:
        if process.status == process_pb2.RUNNING:
            raise unknown("cannot delete a running process")

    def _publish(self, topic: str, event: Any) -> None:
        self._exchange.publish(caller().namespace, topic, event)


def _streams(request: tasks_pb2.CreateTaskRequest | tasks_pb2.ExecProcessRequest) -> Streams:
    return Streams(request.stdin, request.stdout, request.stderr, request.terminal)


def _running(processes: Iterable[FakeProcess]) -> list[FakeProcess]:
    return [process for process in processes if process.status == process_pb2.RUNNING]


def _state_name(task: Task) -> str:
    return "paused" if task.paused else process_pb2.Status.Name(task.init.status).lower()


def _to_wire(task: Task, process: FakeProcess) -> process_pb2.Process:
    paused = task.paused and not process.exec_id
    return process_pb2.Process(
        id=process.exec_id or process.container_id,
        pid=process.pid,
        status=process_pb2.PAUSED if paused else process.status,
        stdin=process.streams.stdin,
        stdout=process.streams.stdout,
        stderr=process.streams.stderr,
        terminal=process.streams.terminal,
        exit_status=process.exit_status,
        exited_at=timestamp(process.exited_at),
    )


def _deleted(process: FakeProcess) -> tasks_pb2.DeleteResponse:
    return tasks_pb2.DeleteResponse(
        id=process.exec_id,
        pid=process.pid,
        exit_status=process.exit_status,
        exited_at=timestamp(process.exited_at),
    )


def _default_metrics() -> any_pb2.Any:
    metrics = v1_pb2.Metrics(
        cpu=v1_pb2.CPUStat(usage=v1_pb2.CPUUsage(total=now() % 10**12)),
        memory=v1_pb2.MemoryStat(
            usage=v1_pb2.MemoryEntry(usage=4 << 20), total_inactive_file=1 << 20, total_rss=2 << 20
        ),
        pids=v1_pb2.PidsStat(current=1),
    )
    return any_pb2.Any(type_url=metrics.DESCRIPTOR.full_name, value=metrics.SerializeToString())
