"""Every RPC cut off at every place where it waits, and then repeated: done or undone, and nothing left.

left       the client goes away; what runs on in the server's background runs on
stopped    the server is told to end: the attempt itself is cancelled and undoes itself
killed     the server dies with SIGKILL; the next one recovers what it finds, and the kubelet tries again
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.containerd import Client
from api.containerd.containers import from_wire
from api.wire import criv1
from api.wire.containerd import process_pb2
from cri.concurrency.supervision import Supervisor
from cri.container.create import create_container
from cri.container.handlers import SandboxMode
from cri.errors import CriError, FailedPrecondition
from cri.sandbox.run import run_sandbox
from cri.state.container_status import Phase
from cri.state.records import SandboxRecord, container_name, sandbox_name
from tests.await_points import Life, begin, inside, points_of, watching
from tests.double import ContainerdDouble
from tests.double.containerd import until
from tests.node import DoubleNode, World, load_image, started

pytestmark = pytest.mark.timeout(300)

HOST_NETWORK = criv1.LinuxPodSandboxConfig(
    security_context=criv1.LinuxSandboxSecurityContext(
        namespace_options=criv1.NamespaceOption(network=criv1.NODE, pid=criv1.CONTAINER)
    )
)
OWN_THREADS = ("netns", "namespace")
LIMITS = criv1.LinuxContainerResources(cpu_shares=512, memory_limit_in_bytes=64 << 20)


@dataclass
class Ids:
    """What the preparation made."""

    pod: str = ""
    container: str = ""


async def nothing(node: DoubleNode, ids: Ids) -> None:
    """No preparation."""


async def pod_ready(node: DoubleNode, ids: Ids) -> None:
    ids.pod = await node.sandboxes.run(node.pod_config(), "")


async def container_created(node: DoubleNode, ids: Ids) -> None:
    await pod_ready(node, ids)
    ids.container = await node.containers.create(ids.pod, node.container_config())


async def container_running(node: DoubleNode, ids: Ids) -> None:
    await container_created(node, ids)
    await node.containers.start(ids.container)


async def container_ended(node: DoubleNode, ids: Ids) -> None:
    await container_running(node, ids)
    node.containerd.process(ids.container).exit(3)
    await node.containers.get(ids.container).exited.wait()


async def run_pod(node: DoubleNode, ids: Ids) -> None:
    ids.pod = await node.sandboxes.run(node.pod_config(), "")


async def run_host_pod(node: DoubleNode, ids: Ids) -> None:
    ids.pod = await node.sandboxes.run(node.pod_config(linux=HOST_NETWORK), "")


async def attempt_pod(node: DoubleNode, ids: Ids) -> None:
    config = node.pod_config()
    await run_sandbox(node.pods, sandbox_name(config.metadata), config, "")


async def create(node: DoubleNode, ids: Ids) -> None:
    ids.container = await node.containers.create(ids.pod, node.container_config())


async def attempt_container(node: DoubleNode, ids: Ids) -> None:
    sandbox, config = node.sandboxes.get(ids.pod), node.container_config()
    name = container_name(config.metadata, sandbox.config.metadata)
    await create_container(node.pods.engine, sandbox, name, config)


async def start(node: DoubleNode, ids: Ids) -> None:
    await node.containers.start(ids.container)


async def stop(node: DoubleNode, ids: Ids) -> None:
    await node.containers.stop(ids.container, 5)


async def remove(node: DoubleNode, ids: Ids) -> None:
    await node.containers.remove(ids.container)


async def update(node: DoubleNode, ids: Ids) -> None:
    await node.containers.update(ids.container, LIMITS)


async def update_pod(node: DoubleNode, ids: Ids) -> None:
    request = criv1.UpdatePodSandboxResourcesRequest(pod_sandbox_id=ids.pod, resources=LIMITS)
    await node.sandboxes.update_resources(request)


async def execute(node: DoubleNode, ids: Ids) -> None:
    result = await node.containers.exec_sync(ids.container, ["echo", "hello"], 5)
    assert (result.stdout, result.exit_code) == (b"hello\n", 0)


async def reopen(node: DoubleNode, ids: Ids) -> None:
    await node.containers.reopen_log(ids.container)


async def stop_pod(node: DoubleNode, ids: Ids) -> None:
    await node.sandboxes.stop(ids.pod)


async def remove_pod(node: DoubleNode, ids: Ids) -> None:
    await node.sandboxes.remove(ids.pod)


def one_ready_pod(node: DoubleNode, ids: Ids) -> None:
    (sandbox,) = node.node.sandboxes
    assert (sandbox.id, sandbox.ready) == (ids.pod, True)


def one_created_container(node: DoubleNode, ids: Ids) -> None:
    (container,) = node.node.containers
    assert (container.id, container.status.phase) == (ids.container, Phase.CREATED)


def started_or_failed_for_good(node: DoubleNode, ids: Ids) -> None:
    status = node.containers.get(ids.container).status
    assert status.phase in (Phase.RUNNING, Phase.EXITED), status
    assert status.phase is Phase.RUNNING or (status.exit_code, status.reason) == (128, "StartError"), status


def ended(node: DoubleNode, ids: Ids) -> None:
    status = node.containers.get(ids.container).status
    assert (status.phase, status.exit_code) == (Phase.EXITED, 143), status


def limited(node: DoubleNode, ids: Ids) -> None:
    assert node.containers.get(ids.container).resources.linux.cpu_shares == LIMITS.cpu_shares


def pod_limited(node: DoubleNode, ids: Ids) -> None:
    """The record says so too: the next server reads it."""
    assert node.sandboxes.get(ids.pod).config.linux.resources == LIMITS
    recorded = node.containerd.state.namespace("k8s.io").containers[ids.pod]
    assert SandboxRecord.from_containerd(from_wire(recorded)).config.linux.resources == LIMITS


def still_running(node: DoubleNode, ids: Ids) -> None:
    assert node.containers.get(ids.container).running
    assert not node.containerd.leftovers().execs


def no_container(node: DoubleNode, ids: Ids) -> None:
    assert not list(node.node.containers)
    assert node.containerd.leftovers().containers == (ids.pod,)


def pod_stopped(node: DoubleNode, ids: Ids) -> None:
    assert not node.sandboxes.get(ids.pod).ready
    assert not node.network.attached


def no_pod(node: DoubleNode, ids: Ids) -> None:
    assert not list(node.node.sandboxes)


Step = Callable[[DoubleNode, Ids], Awaitable[None]]


@dataclass(frozen=True)
class Rpc:
    """One RPC: what comes before it, the call, and what is true after it has succeeded."""

    prepare: Step
    call: Step
    done: Callable[[DoubleNode, Ids], None]
    refusal: type[CriError] | None = None
    """What a repetition may answer when the first call has come to its end."""


RPCS = {
    "RunPodSandbox": Rpc(nothing, run_pod, one_ready_pod),
    "RunPodSandbox with host network": Rpc(nothing, run_host_pod, one_ready_pod),
    "CreateContainer": Rpc(pod_ready, create, one_created_container),
    "StartContainer": Rpc(container_created, start, started_or_failed_for_good, FailedPrecondition),
    "StopContainer": Rpc(container_running, stop, ended),
    "RemoveContainer created": Rpc(container_created, remove, no_container),
    "RemoveContainer running": Rpc(container_running, remove, no_container),
    "RemoveContainer ended": Rpc(container_ended, remove, no_container),
    "UpdateContainerResources": Rpc(container_running, update, limited),
    "UpdatePodSandboxResources": Rpc(pod_ready, update_pod, pod_limited),
    "ExecSync": Rpc(container_running, execute, still_running),
    "ReopenContainerLog": Rpc(container_running, reopen, still_running),
    "StopPodSandbox": Rpc(container_running, stop_pod, pod_stopped),
    "RemovePodSandbox": Rpc(container_running, remove_pod, no_pod),
}
ATTEMPTS = {
    "RunPodSandbox": (nothing, attempt_pod, run_pod, one_ready_pod),
    "CreateContainer": (pod_ready, attempt_container, create, one_created_container),
}


@dataclass
class Servers:
    """Starts servers on one world, one after the other, and kills them."""

    world: World

    @contextlib.asynccontextmanager
    async def running(self, life: Life | None = None) -> AsyncIterator[DoubleNode]:
        """A server; if `life` dies in the block it is dead, else it is stopped after."""
        client, supervisor = Client(self.world.containerd.address), Supervisor()
        life = life or Life()
        try:
            yield await inside(life, started(self.world, client, supervisor))
        finally:
            if life.dead:
                await client.close()
                await threads_ended()
            else:
                await supervisor.close()
                await client.close()

    async def cleaned_up(self, node: DoubleNode) -> None:
        """Remove all pods; nothing may be left of anything."""
        for sandbox in node.node.sandboxes:
            await node.sandboxes.stop(sandbox.id)
            await node.sandboxes.remove(sandbox.id)
        await node.settled()
        node.assert_nothing_left()
        assert not await node.janitor.look()

    @contextlib.contextmanager
    def at(self, point: str) -> Iterator[None]:
        """Note a failure with the point that it belongs to."""
        try:
            yield
        except Exception as error:
            raise AssertionError(f"struck at {point}: {type(error).__name__}: {error}") from error


@pytest.fixture
async def servers(containerd: ContainerdDouble, client: Client, tmp_path: Path, mode: SandboxMode) -> Servers:
    await load_image(client)
    return Servers(World(containerd, tmp_path, mode=mode))


async def threads_ended() -> None:
    """What threads have begun they finish, dead server or not."""
    await until(lambda: not any(thread.name.startswith(OWN_THREADS) for thread in threading.enumerate()))
    await asyncio.sleep(0.01)  # those of the pool cannot be told from idle ones


async def answered_and_settled(node: DoubleNode, call: Step, ids: Ids) -> None:
    """A call and what goes on in the background after its answer."""
    await call(node, ids)
    await node.settled()


async def repeated(rpc: Rpc, node: DoubleNode, ids: Ids) -> None:
    """The kubelet calls again."""
    try:
        await rpc.call(node, ids)
    except CriError as error:
        if rpc.refusal is None or not isinstance(error, rpc.refusal):
            raise
    await node.settled()
    rpc.done(node, ids)


async def points(servers: Servers, node: DoubleNode, prepare: Step, call: Step) -> list[str]:
    """Where `call` waits when all goes well. The second run counts: the first has unpacked the image."""
    found: list[str] = []
    for _ in range(2):
        ids = Ids()
        await prepare(node, ids)
        found = await points_of(lambda ids=ids: answered_and_settled(node, call, ids))
        await servers.cleaned_up(node)
    assert found, "the call waits nowhere"
    return found


async def cancelled_at(point: str, node: DoubleNode, call: Step, ids: Ids) -> Life:
    """Make a call and cancel it at a point."""
    life = Life(target=point)
    task = begin(life, call(node, ids))
    life.strike = task.cancel
    await asyncio.wait({task})
    if life.strike is not None:  # it took another way this time
        await task
    return life


@pytest.mark.parametrize("name", RPCS)
async def test_a_client_that_leaves_anywhere_and_comes_back(servers: Servers, name: str):
    rpc = RPCS[name]
    async with watching(), servers.running() as node:
        for point in await points(servers, node, rpc.prepare, rpc.call):
            with servers.at(point):
                ids = Ids()
                await rpc.prepare(node, ids)
                life = await cancelled_at(point, node, rpc.call, ids)
                if life.strike is None:
                    await repeated(rpc, node, ids)
                await servers.cleaned_up(node)


@pytest.mark.parametrize("name", RPCS)
async def test_a_client_that_leaves_anywhere_for_good(servers: Servers, name: str):
    rpc = RPCS[name]
    async with watching(), servers.running() as node:
        for point in await points(servers, node, rpc.prepare, rpc.call):
            with servers.at(point):
                ids = Ids()
                await rpc.prepare(node, ids)
                life = await cancelled_at(point, node, rpc.call, ids)
                attempts = [task for task in life.tasks if not task.done() and not unclaimed(task)]
                if attempts:
                    await asyncio.wait(attempts)
                await servers.cleaned_up(node)


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_an_attempt_that_is_stopped_anywhere_is_undone(servers: Servers, name: str):
    prepare, attempt, again, done = ATTEMPTS[name]
    async with watching(), servers.running() as node:
        for point in await points(servers, node, prepare, attempt):
            with servers.at(point):
                ids = Ids()
                await prepare(node, ids)
                before = node.containerd.leftovers()
                life = await cancelled_at(point, node, attempt, ids)
                if life.strike is None:
                    await node.settled()
                    assert node.containerd.leftovers() == before
                    await again(node, ids)
                    done(node, ids)
                await servers.cleaned_up(node)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # what dies before it began
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", RPCS)
async def test_a_server_that_dies_anywhere_and_the_kubelets_retry(servers: Servers, name: str):
    rpc = RPCS[name]
    async with watching():
        async with servers.running() as node:
            found = await points(servers, node, rpc.prepare, rpc.call)
        for point in found:
            with servers.at(point):
                ids, life = Ids(), Life()
                async with servers.running(life) as node:
                    await inside(life, rpc.prepare(node, ids))
                    await killed_at(point, life, answered_and_settled(node, rpc.call, ids))
                async with servers.running() as node:
                    # The janitor's first round runs beside the first RPCs, as it does in a server.
                    await asyncio.gather(node.janitor.sweep(), repeated(rpc, node, ids))
                    await servers.cleaned_up(node)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_program_runs_once_though_server_and_containerd_die_beside_its_start(servers: Servers):
    """containerd forgets a process that ended while it was away, and the record says created."""
    ids, life, double = Ids(), Life(), servers.world.containerd
    async with watching():
        async with servers.running(life) as node:
            await inside(life, container_created(node, ids))
            double.calls.clear()
            double.hang("Containers.Update")
            begin(life, node.containers.start(ids.container))
            await until(lambda: {"Tasks.Start", "Containers.Update"} <= set(double.methods()))
            await until(lambda: double.process(ids.container).status == process_pb2.RUNNING)
            life.die()
        double.heal()
        double.state.namespace("k8s.io").tasks.pop(ids.container).release()
        async with servers.running() as node:
            with pytest.raises(FailedPrecondition, match="EXITED"):
                await node.containers.start(ids.container)
            status = node.containers.get(ids.container).status
            assert (status.exit_code, status.reason) == (255, "Unknown"), status
            await servers.cleaned_up(node)


async def killed_at(point: str, life: Life, call: Coroutine[object, object, None]) -> None:
    """Make a call and kill the server at a point of it, at the latest when it has come to its end."""
    died = asyncio.Event()

    def strike() -> None:
        life.die()
        died.set()

    life.target, life.strike = point, strike
    ended = begin(life, call)
    death = asyncio.get_running_loop().create_task(died.wait())
    await asyncio.wait({ended, death}, return_when=asyncio.FIRST_COMPLETED)
    death.cancel()
    life.die()


def unclaimed(task: asyncio.Task[object]) -> bool:
    """Waits for somebody to come for a result."""
    return task.get_name().startswith("unclaimed")
