"""A sandbox that mounts hold: its namespaces are made by a thread, set up from inside, pinned, and that is all.

There is no process: no image is needed, containerd has the record and nothing else. The first container that starts
brings the pod's shim, the last task that is deleted takes it away. What is pinned is unmounted with the other mounts of
the sandbox (`cri.sandbox.files`), and goes with the boot.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from api.containerd import SPEC_TYPE_URL, TypedValue
from api.containerd import Container as ContainerdContainer
from cri.concurrency.threads import finished_in_thread
from cri.container.id_mapping import ids_of
from cri.errors import InvalidArgument
from cri.linux.boot import boot_id
from cri.linux.namespaces import (
    Interior,
    NamespaceSet,
    SysctlError,
    is_namespace,
    pin_namespaces,
    remove_network_namespace,
)
from cri.linux.user_namespaces import pin_user_namespace
from cri.observe.stages import stage
from cri.oci.pinned_sandbox import PinnedSandboxInputs, pinned_sandbox_spec
from cri.oci.spec import to_json
from cri.oci.sysctls import sandbox_sysctls
from cri.sandbox.files import remove_files
from cri.state.records import KIND_SANDBOX, SandboxRecord, containerd_labels

if TYPE_CHECKING:
    from cri.concurrency.undo import UndoStack
    from cri.container.handlers import Handler
    from cri.oci.selinux import SelinuxLabels
    from cri.sandbox.engine import PodEngine
    from cri.state.sandbox import Sandbox


class HeldByMounts:
    """See `cri.sandbox.holders.holder.Holder`."""

    def __init__(self, pods: PodEngine) -> None:
        self._engine = pods.engine

    async def describe(
        self, sandbox: Sandbox, handler: Handler, labels: SelinuxLabels
    ) -> ContainerdContainer:
        """A record without image and snapshot, whose spec tells of the namespaces."""
        record = sandbox.record
        with stage("spec"):
            spec = pinned_sandbox_spec(
                PinnedSandboxInputs(
                    sandbox_id=record.id,
                    config=record.config,
                    handler=handler.spec,
                    host=self._engine.host,
                    settings=self._engine.oci,
                    namespaces=sandbox.namespaces,
                )
            )
        return ContainerdContainer(
            id=record.id,
            labels=containerd_labels(KIND_SANDBOX, record.config.labels),
            runtime=handler.runtime_type,
            runtime_options=handler.options,
            spec=TypedValue(SPEC_TYPE_URL, to_json(spec)),
            snapshotter=handler.snapshotter,
            extensions=record.extensions(),
        )

    async def pin(self, sandbox: Sandbox, undo: UndoStack) -> None:
        """All namespaces in one step; in a user namespace they belong to it."""
        engine, record = self._engine, sandbox.record
        ids = ids_of(record.config)
        namespaces = namespace_set(record)
        interior = Interior(
            hostname=record.config.hostname or None if namespaces.uts else None,
            sysctls=sandbox_sysctls(record.config, engine.host, engine.oci),
            sysfs=self._sysfs(record) if ids is None else None,
        )
        with stage("netns"):
            undo.push("remove namespaces", lambda: self._unpin(record))
            await finished_in_thread(_make_directories, record, interior)
            try:
                if ids is not None:
                    await pin_user_namespace(
                        ids, engine.paths.user_namespace(record.id), namespaces, interior
                    )
                elif namespaces.pins:
                    await pin_namespaces(namespaces, interior)
            except SysctlError as error:
                raise InvalidArgument(f"config.linux.sysctls: {error.strerror}") from error

    async def hold(self, sandbox: Sandbox, handler: Handler, undo: UndoStack) -> None:
        """Nothing: the pins are all."""

    async def let_go(self, sandbox: Sandbox) -> None:
        """Nothing: the pins go with the sandbox's other mounts, after CNI DEL."""

    async def forget(self, sandbox: Sandbox) -> None:
        """Nothing: there is no snapshot."""

    def _sysfs(self, record: SandboxRecord) -> Path | None:
        """A privileged pod's containers may come after one that mounts /sys read-only."""
        privileged = record.config.linux.security_context.privileged
        return self._engine.paths.sysfs(record.id) if privileged and not record.host_network else None

    async def _unpin(self, record: SandboxRecord) -> None:
        await finished_in_thread(remove_files, self._engine.paths, record.id)
        if not record.host_network:
            await remove_network_namespace(Path(record.network_namespace))


def namespace_set(record: SandboxRecord) -> NamespaceSet:
    """The pins of a sandbox that mounts hold, but for that of its user namespace."""
    assert record.pins is not None, "held by a process"  # noqa: S101 - see `choice.holder_of`
    return NamespaceSet(
        network=Path(record.network_namespace) if record.network_namespace else None,
        ipc=Path(record.pins.ipc) if record.pins.ipc else None,
        uts=Path(record.pins.uts) if record.pins.uts else None,
    )


def is_intact(record: SandboxRecord) -> bool:
    """Whether every namespace of a sandbox that mounts hold is still there. Blocking, a system call each."""
    same_boot = record.pins is not None and record.pins.boot_id == boot_id()
    return same_boot and all(is_namespace(Path(path)) for path in record.pinned)


def _make_directories(record: SandboxRecord, interior: Interior) -> None:
    for path in record.pinned:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    if interior.sysfs is not None:
        interior.sysfs.mkdir(parents=True, exist_ok=True)
