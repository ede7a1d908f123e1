"""A node on the containerd double: real engine, index, FIFOs and namespaces; CNI and log keeper are stand-ins.

What is stood in for has tests of its own; here it is about the order, the number and the undoing of steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tarfile
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import cast

import pytest

from api.containerd import Client, Descriptor, Image
from api.wire import criv1
from cri.concurrency.supervision import Supervisor
from cri.container.accounts import AccountFiles, Accounts
from cri.container.containers import Containers
from cri.container.engine import Engine
from cri.container.handlers import Handler, Handlers, SandboxMode
from cri.container.settings import ContainerSettings
from cri.errors import CriError, Unavailable
from cri.image.settings import ImageSettings, RegistrySettings
from cri.image.store import ImageStore
from cri.linux import fifo
from cri.logs.client import Followed, LogKeeper, PumpCounters
from cri.network.attachment import Attachment
from cri.network.pod_network import PodNetwork
from cri.network.request import PodRequest
from cri.network.reservations import Reservation
from cri.network.result import AssignedAddress, AttachmentResult, Interface
from cri.network.status import NetworkStatus
from cri.oci.handler import RuntimeHandler
from cri.oci.host import HostFacts
from cri.oci.settings import OciSettings
from cri.sandbox.engine import PodEngine
from cri.sandbox.events import ContainerEvents
from cri.sandbox.janitor.rounds import Janitor
from cri.sandbox.networks import Networks
from cri.sandbox.node_stats import NodeStats
from cri.sandbox.node_status import Releases
from cri.sandbox.observer import Observer
from cri.sandbox.sandboxes import Sandboxes
from cri.sandbox.settings import SandboxSettings
from cri.services.collaborators import Collaborators
from cri.state.node import Node
from cri.state.paths import NodePaths
from cri.stats.settings import StatsSettings
from cri.stream.server import StreamServer
from cri.stream.settings import StreamSettings
from tests.double import ContainerdDouble
from tests.image.made_images import digest_of

BY_PROCESS = pytest.mark.parametrize("mode", [SandboxMode.PAUSE], indirect=True)
BY_MOUNTS = pytest.mark.parametrize("mode", [SandboxMode.AUTO], indirect=True)
"""For tests of what one way of holding a sandbox has and the other has not."""
IMAGE = "registry.k8s.io/pause:3.10"
HOST = HostFacts(
    cgroup_version=1,
    capabilities=("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"),
    effective_capabilities=("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"),
    architecture="x86_64",
    kernel=(6, 1),
)


class FakeKeeper:
    """Holds the read ends of FIFOs, as the log keeper does, and says what it was asked. Outlives servers.

    Each request yields to the loop before and after its effect, as a conversation over a socket does.
    """

    def __init__(self) -> None:
        self.followed: dict[str, list[int]] = {}
        self.reopened: list[str] = []

    async def follow(self, followed: Followed) -> None:
        await asyncio.sleep(0)
        paths = [path for path in (followed.stdout, followed.stderr) if path is not None]
        if followed.container_id not in self.followed:
            self.followed[followed.container_id] = [fifo.open_reader(path) for path in paths]
        await asyncio.sleep(0)

    async def follow_anew(self, followed: Followed) -> None:
        await self.release(followed.container_id)
        await self.follow(followed)

    def writers_left(self, container_id: str) -> None:
        """Its last writer is gone: the ends are closed, and the container counts as followed all the same."""
        for descriptor in self.followed.get(container_id, []):
            os.close(descriptor)
        self.followed[container_id] = []

    async def drained(self, container_id: str, timeout_seconds: float) -> bool:
        await asyncio.sleep(0)
        return True

    async def release(self, container_id: str) -> None:
        await asyncio.sleep(0)
        for descriptor in self.followed.pop(container_id, []):
            os.close(descriptor)
        await asyncio.sleep(0)

    async def statistics(self) -> dict[str, None]:
        return dict.fromkeys(self.followed)

    async def counters(self, container_id: str) -> PumpCounters | None:
        return PumpCounters(bytes=17) if container_id in self.followed else None

    async def reopen(self, container_id: str) -> None:
        await asyncio.sleep(0)
        self.reopened.append(container_id)

    async def resume(self) -> None:
        """Everything is followed already."""

    outdated = False


class FakeNetwork:
    """Gives addresses out and takes them back; `fail` and `hold` are the test's."""

    def __init__(self) -> None:
        self.attached: dict[str, str] = {}
        """Network namespaces by sandbox ID."""
        self.calls: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.hold = asyncio.Event()
        self.hold.set()
        self.reached = asyncio.Event()

    async def attach(self, request: PodRequest) -> AttachmentResult:
        self.calls.append("ADD")
        await asyncio.sleep(0)
        assert request.network_namespace is not None
        assert request.network_namespace.exists(), "the namespace must be pinned before ADD"
        self.attached[request.sandbox_id] = str(request.network_namespace)
        self.reached.set()
        await asyncio.sleep(0)
        await self.hold.wait()
        if "ADD" in self.fail:
            raise self.fail["ADD"]
        return AttachmentResult((Interface("eth0"),), (AssignedAddress("10.0.0.9", "eth0"),))

    async def detach(self, request: PodRequest, result: AttachmentResult | None) -> None:
        self.calls.append("DEL")
        await asyncio.sleep(0)
        if "DEL" in self.fail:
            raise self.fail["DEL"]
        self.attached.pop(request.sandbox_id, None)
        await asyncio.sleep(0)

    async def set_pod_cidrs(self, cidrs: list[str]) -> None:
        """No template here."""

    async def attachments(self) -> list[Attachment]:
        return [
            Attachment("pods", owner, "eth0", b"{}", network_namespace=namespace)
            for owner, namespace in self.attached.items()
        ]

    async def reservations(self) -> list[Reservation]:
        return []

    async def collect_garbage(
        self, known: Callable[[], Collection[str]], ours: Callable[[Attachment], bool]
    ) -> list[CriError]:
        if "DEL" in self.fail:
            return [Unavailable(str(self.fail["DEL"]))]
        for each in await self.attachments():
            if each.container_id not in known() and ours(each):
                self.calls.append("DEL")
                del self.attached[each.container_id]
        return []

    def status(self) -> NetworkStatus:
        return NetworkStatus(ready=True, reason="", message="")

    def describe(self) -> dict[str, object]:
        return {}


class FakeAccounts:
    """An image without account files: root is all there is."""

    async def read(self, snapshotter: str, chain_id: str) -> AccountFiles:
        return AccountFiles()


@dataclass
class DoubleNode:
    """The parts that tests look at."""

    containerd: ContainerdDouble
    client: Client
    pods: PodEngine
    sandboxes: Sandboxes
    containers: Containers
    observer: Observer
    network: FakeNetwork
    keeper: FakeKeeper
    supervisor: Supervisor
    logs: Path
    on: Collaborators
    janitor: Janitor
    mode: SandboxMode

    @property
    def node(self) -> Node:
        return self.pods.engine.node

    def pod_config(self, name: str = "web", **settings: object) -> criv1.PodSandboxConfig:
        config = criv1.PodSandboxConfig(
            metadata=criv1.PodSandboxMetadata(name=name, namespace="shop", uid=f"uid-{name}"),
            log_directory=str(self.logs),
            **settings,
        )
        config.linux.security_context.namespace_options.pid = self.pid_mode
        return config

    @property
    def pid_mode(self) -> criv1.NamespaceMode.ValueType:
        """Kubelet's for pods that do not share a PID namespace, unless only a process would do."""
        return criv1.POD if self.mode is SandboxMode.PAUSE else criv1.CONTAINER

    def container_config(self, name: str = "app", **settings: object) -> criv1.ContainerConfig:
        settings.setdefault("command", ["serve"])
        settings.setdefault("log_path", f"{name}.log")
        config = criv1.ContainerConfig(
            metadata=criv1.ContainerMetadata(name=name), image=criv1.ImageSpec(image=IMAGE), **settings
        )
        config.linux.security_context.namespace_options.pid = self.pid_mode
        return config

    async def running(self, **settings: object) -> tuple[str, str]:
        """A pod with one running container: their ids."""
        pod = await self.sandboxes.run(self.pod_config(), "")
        container = await self.containers.create(pod, self.container_config(**settings))
        await self.containers.start(container)
        return pod, container

    async def settled(self) -> None:
        """Wait for clean-ups in the background."""
        while waiting := [task for task in self.supervisor.tasks if task.get_name() != "events"]:
            await asyncio.wait(waiting)

    def assert_nothing_left(self) -> None:
        left = self.containerd.leftovers()
        held = (left.containers, left.tasks, left.execs, left.leases, left.ingests, left.shims)
        assert not any(held), f"containerd still holds {held}"
        active = [key for key in left.snapshots if "sha256:" not in key]
        assert not active, f"snapshots are left: {active}"
        assert not self.network.attached, f"addresses are left: {self.network.attached}"
        assert not self.keeper.followed, f"logs are still followed: {self.keeper.followed}"
        paths = self.pods.engine.paths
        files = [
            str(path) for base in (paths.root, paths.state) for path in base.rglob("*") if path.is_file()
        ]
        assert not files, f"files are left: {files}"
        namespaces = list(paths.network_namespace("0" * 64).parent.iterdir())
        assert not namespaces, f"namespaces are left: {namespaces}"
        assert len(self.node.sandboxes) == len(self.node.containers) == 0


@dataclass
class World:
    """What outlives a server: containerd, the log keeper, what CNI has given out, the files."""

    containerd: ContainerdDouble
    directory: Path
    keeper: FakeKeeper = field(default_factory=FakeKeeper)
    network: FakeNetwork = field(default_factory=lambda: FakeNetwork())
    mode: SandboxMode = SandboxMode.PAUSE

    def __post_init__(self) -> None:
        for made in (self.paths.root, self.paths.state, self.paths.state / "netns"):
            made.mkdir(parents=True, exist_ok=True)

    @property
    def paths(self) -> NodePaths:
        return NodePaths(self.directory / "root", self.directory / "state", netns_under_state=True)


@contextlib.asynccontextmanager
async def double_node(
    containerd: ContainerdDouble, client: Client, directory: Path, mode: SandboxMode = SandboxMode.PAUSE
) -> AsyncIterator[DoubleNode]:
    """Assemble a node and follow the double's events."""
    await load_image(client)
    world = World(containerd, directory, mode=mode)
    async with Supervisor() as supervisor:
        node = await started(world, client, supervisor)
        yield node
        await remove_pods(node.pods, node.sandboxes, world.network)
        for container_id in list(world.keeper.followed):
            await world.keeper.release(container_id)


async def started(world: World, client: Client, supervisor: Supervisor) -> DoubleNode:
    """Start a server on a world that may hold the pods of an earlier one, and wait until it knows them."""
    handler = Handler("runc", RuntimeHandler("runc"), None, "overlayfs")
    engine = Engine(
        client=client,
        node=Node(),
        images=ImageStore(client, ImageSettings(sandbox_image=IMAGE), RegistrySettings(), supervisor),
        keeper=cast(LogKeeper, world.keeper),
        supervisor=supervisor,
        handlers=Handlers({"runc": handler}, "runc"),
        paths=world.paths,
        host=HOST,
        oci=OciSettings(),
        settings=ContainerSettings(),
        accounts=cast(Accounts, FakeAccounts()),
    )
    networks = Networks(cast(PodNetwork, world.network))
    pods = PodEngine(engine, networks, SandboxSettings(IMAGE, world.mode))
    sandboxes, containers, observer = Sandboxes(pods), Containers(engine), Observer(pods)
    streams = StreamServer(StreamSettings())
    on = Collaborators(
        pods,
        sandboxes,
        containers,
        observer,
        Releases("1.6.20~ds1", "0.1.0"),
        streams,
        dict,
        NodeStats(engine, StatsSettings()),
        ContainerEvents(engine),
    )
    supervisor.keep("events", observer.run)
    await asyncio.wait_for(observer.connected.wait(), 10)
    return DoubleNode(
        world.containerd,
        client,
        pods,
        sandboxes,
        containers,
        observer,
        world.network,
        world.keeper,
        supervisor,
        world.directory / "logs",
        on,
        Janitor(pods, observer, 3600.0),
        world.mode,
    )


async def remove_pods(pods: PodEngine, sandboxes: Sandboxes, network: FakeNetwork) -> None:
    """Undo mounts and namespaces that a failed test may have left."""
    network.fail.clear()
    network.hold.set()
    for sandbox in pods.engine.node.sandboxes:
        await sandboxes.remove(sandbox.id)


async def load_image(
    client: Client, change: Callable[[dict[str, object]], None] = lambda _config: None
) -> None:
    """Put a one-layer image into the double, as an import by another client would."""
    layer = BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pause"))
    tar = layer.getvalue()
    config: dict[str, object] = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]},
    }
    change(config)
    kinds = "application/vnd.oci.image"
    blobs = {
        "layer": (f"{kinds}.layer.v1.tar", tar),
        "config": (f"{kinds}.config.v1+json", json.dumps(config).encode()),
    }
    described = {
        name: {"mediaType": kind, "digest": digest_of(data), "size": len(data)}
        for name, (kind, data) in blobs.items()
    }
    manifest = json.dumps(
        {"schemaVersion": 2, "config": described["config"], "layers": [described["layer"]]}
    ).encode()
    labels = {"containerd.io/gc.ref.content.0": described["config"]["digest"]}
    labels["containerd.io/gc.ref.content.1"] = described["layer"]["digest"]
    async with client.leases.hold() as leased:
        for data in (blobs["layer"][1], blobs["config"][1], manifest):
            await write_blob(leased, data, labels if data is manifest else {})
        target = Descriptor(f"{kinds}.manifest.v1+json", digest_of(manifest), len(manifest))
        await leased.images.create(Image(IMAGE, target))


async def write_blob(client: Client, data: bytes, labels: dict[str, str]) -> None:
    digest = digest_of(data)
    async with client.content.writer(f"blob-{digest}", total=len(data), expected=digest) as writer:
        await writer.write(data)
        await writer.commit(size=len(data), expected=digest, labels=labels)
