"""A sandbox that a process holds: the sandbox container, which only waits.

The calls, in order: Snapshots.Prepare, Tasks.Create, Tasks.Start. Its containerd record, which is the sandbox's record,
has been written before.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

import structlog

from api.containerd import SPEC_TYPE_URL, TypedValue
from api.containerd import Container as ContainerdContainer
from api.containerd import errors as containerd_errors
from api.wire import criv1
from cri.concurrency.together import all_of
from cri.container.apparmor import loaded_profiles
from cri.container.id_mapping import root_mounts, snapshot_labels
from cri.container.plan import image_defaults
from cri.container.profiles import seccomp_profile
from cri.container.unpacked import with_unpacked
from cri.container.users import resolved_user
from cri.observe.stages import stage
from cri.oci.apparmor import sandbox_needs_default_profile
from cri.oci.namespaces import NamespacePaths
from cri.oci.sandbox import SandboxSpecInputs, sandbox_spec
from cri.oci.spec import to_json
from cri.oci.user import sandbox_user_request
from cri.sandbox import network
from cri.state.deletion import ensure_deleted
from cri.state.pins import Pins
from cri.state.records import KIND_SANDBOX, SandboxRecord, containerd_labels

if TYPE_CHECKING:
    from cri.concurrency.undo import UndoStack
    from cri.container.engine import Engine
    from cri.container.handlers import Handler
    from cri.image.image import Image
    from cri.oci.selinux import SelinuxLabels
    from cri.sandbox.engine import PodEngine
    from cri.state.sandbox import Sandbox

log = structlog.get_logger(__name__)

SIGKILL = 9
CONTAINERS_SECONDS = 10.0
DELETE_ATTEMPTS = 5


class HeldByProcess:
    """See `cri.sandbox.holders.holder.Holder`."""

    def __init__(self, pods: PodEngine) -> None:
        self._engine = pods.engine
        self._wanted = pods.settings.sandbox_image

    async def describe(
        self, sandbox: Sandbox, handler: Handler, labels: SelinuxLabels
    ) -> ContainerdContainer:
        """The containerd container that is both the sandbox's record and the description of its process."""
        image = await self._image()
        sandbox.image_id = image.id
        with stage("spec"):
            return await containerd_record(self._engine, sandbox.record, handler, image, labels)

    async def pin(self, sandbox: Sandbox, undo: UndoStack) -> None:
        """The network namespace, for CNI, and the user namespace that owns it."""
        await network.make_namespaces(self._engine.paths, sandbox.record, undo)

    async def hold(self, sandbox: Sandbox, handler: Handler, undo: UndoStack) -> None:
        """Start the process, which makes the other namespaces. Raises Unavailable when it does not live."""
        await start_process(self._engine, sandbox, handler, await self._image(), undo)

    async def let_go(self, sandbox: Sandbox) -> None:
        """End the process."""
        if not sandbox.task_deleted.is_set():
            await end_process(self._engine, sandbox)

    async def forget(self, sandbox: Sandbox) -> None:
        """Remove the snapshot."""
        await ensure_deleted(self._engine.client.snapshots(sandbox.snapshotter).remove(sandbox.id))

    async def _image(self) -> Image:
        with stage("image"):
            images = self._engine.images
            return images.find(self._wanted) or await images.ensure(self._wanted)


async def containerd_record(
    engine: Engine, record: SandboxRecord, handler: Handler, image: Image, labels: SelinuxLabels
) -> ContainerdContainer:
    """The containerd container that is both the sandbox's record and the description of its process."""
    context = record.config.linux.security_context
    request = sandbox_user_request(context, image.config.user)
    own_ipc = context.namespace_options.ipc != criv1.NODE
    spec = sandbox_spec(
        SandboxSpecInputs(
            sandbox_id=record.id,
            config=record.config,
            image=image_defaults(image),
            image_name=image.repo_tags[0] if image.repo_tags else image.id,
            user=await resolved_user(engine, image, handler.snapshotter, request),
            handler=handler.spec,
            host=engine.host,
            settings=engine.oci,
            namespaces=_pinned(engine, record),
            resolv_conf_path=str(engine.paths.sandbox_files(record.id) / "resolv.conf"),
            shm_path=str(engine.paths.shared_memory(record.id)) if own_ipc else None,
            labels=labels,
            apparmor_profiles=await loaded_profiles(
                engine.host, with_default=sandbox_needs_default_profile(context, engine.host, engine.oci)
            ),
            seccomp_profile=await asyncio.to_thread(seccomp_profile, context, engine.oci),
        )
    )
    return ContainerdContainer(
        id=record.id,
        labels=containerd_labels(KIND_SANDBOX, record.config.labels),
        image=image.repo_tags[0] if image.repo_tags else image.id,
        runtime=handler.runtime_type,
        runtime_options=handler.options,
        spec=TypedValue(SPEC_TYPE_URL, to_json(spec)),
        snapshotter=handler.snapshotter,
        snapshot_key=record.id,
        extensions=record.extensions(),
        # No sandbox_id: containerd 2 would take the shim for somebody else's to end and leave it running.
    )


def _pinned(engine: Engine, record: SandboxRecord) -> NamespacePaths:
    """What the process finds pinned: by itself it makes the namespaces that only it holds."""
    pins = record.pins or Pins("", user=str(engine.paths.user_namespace(record.id)))
    return NamespacePaths(
        record.network_namespace or None, pins.ipc or None, pins.uts or None, user=pins.user
    )


async def start_process(
    engine: Engine, sandbox: Sandbox, handler: Handler, image: Image, undo: UndoStack
) -> None:
    """Start the sandbox container's process; `sandbox.pid` is its host pid after."""
    snapshots = engine.client.snapshots(handler.snapshotter)
    with stage("snapshot"):
        undo.push("remove snapshot", lambda: ensure_deleted(snapshots.remove(sandbox.id)))
        mounts = await with_unpacked(
            engine,
            image,
            handler.snapshotter,
            partial(snapshots.prepare, sandbox.id, labels=snapshot_labels(handler, sandbox.config)),
        )
    with stage("task-create"):
        undo.push("kill sandbox process", lambda: end_process(engine, sandbox))
        sandbox.task_deleted.clear()
        async with root_mounts(engine.paths, sandbox, handler, sandbox.id, mounts) as root:
            sandbox.pid = await engine.client.tasks.create(sandbox.id, mounts=root, options=handler.options)
    with stage("task-start"):
        await engine.client.tasks.start(sandbox.id)


async def end_process(engine: Engine, sandbox: Sandbox) -> None:
    """Kill the sandbox's process and delete its task. Idempotent; raises ContainerdError if it cannot be done."""
    try:
        await engine.client.tasks.kill(sandbox.id, SIGKILL, everything=True)
        await engine.client.tasks.wait(sandbox.id, timeout=30)
    except containerd_errors.NotFound:
        pass
    await delete_task(engine, sandbox)


async def delete_task(engine: Engine, sandbox: Sandbox) -> None:
    """Remove what containerd still holds of the ended process, and with it the pod's shim."""
    await _containers_gone(engine, sandbox)
    for attempt in range(DELETE_ATTEMPTS):
        try:
            await ensure_deleted(engine.client.tasks.delete(sandbox.id))
        except containerd_errors.ContainerdError as error:
            log.warning(
                "sandbox task could not be deleted, trying again", sandbox=sandbox.id, error=str(error)
            )
            if attempt == DELETE_ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.1 * 2**attempt)
        else:
            break
    sandbox.task_deleted.set()


async def _containers_gone(engine: Engine, sandbox: Sandbox) -> None:
    """Wait until the pod's containers have no tasks.

    containerd 2 asks the pod's shim to end only when the sandbox's own task is deleted, and a shim that still holds
    another task then would stay for ever.
    """
    containers = engine.node.containers_of(sandbox.id)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONTAINERS_SECONDS):
            await all_of([container.task_deleted.wait() for container in containers])
