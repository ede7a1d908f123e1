"""Gathers the facts that a container's OCI spec depends on, and has `cri.oci` translate.

Everything that needs a look at the host, the image or containerd happens here; every rule is in `cri.oci`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.concurrency.threads import finished_in_thread
from cri.concurrency.together import together
from cri.container.apparmor import loaded_profiles
from cri.container.cdi import nodes_of
from cri.container.devices import device_sources, host_devices
from cri.container.image_volumes import image_volumes
from cri.container.mount_sources import mount_sources
from cri.container.plan import image_defaults
from cri.container.profiles import seccomp_profile
from cri.container.selinux import relabel_all
from cri.container.users import resolved_user
from cri.container.volumes import anonymous_volumes
from cri.errors import InvalidArgument
from cri.oci.apparmor import needs_default_profile
from cri.oci.container import ContainerSpecInputs, SandboxFacts, container_spec
from cri.oci.devices import HostDevice, wants_host_devices
from cri.oci.user import container_user_request

if TYPE_CHECKING:
    from cri.concurrency.undo import UndoStack
    from cri.container.engine import Engine
    from cri.container.handlers import Handler
    from cri.container.plan import ContainerPlan
    from cri.oci.spec import Spec
    from cri.state.sandbox import Sandbox


async def build_spec(engine: Engine, plan: ContainerPlan, undo: UndoStack) -> Spec:
    """The container's spec. Raises InvalidArgument naming the field that cannot be honoured.

    Directories made for the image's volumes are pushed on `undo`.
    """
    config = plan.record.config
    context = config.linux.security_context
    cdi = await engine.cdi.registry_for(config, engine.oci)
    images = await image_volumes(engine, plan.sandbox, plan.handler, config)
    user, volumes, sources, devices, seccomp = await together(
        resolved_user(
            engine,
            plan.image,
            plan.handler.snapshotter,
            container_user_request(context, plan.image.config.user),
        ),
        anonymous_volumes(engine, plan, undo),
        finished_in_thread(mount_sources, config.mounts),
        asyncio.to_thread(device_sources, config.devices),
        asyncio.to_thread(seccomp_profile, context, engine.oci),
    )
    labels = engine.selinux.container_labels(config, plan.handler, plan.sandbox.record.process_label)
    await relabel_all(
        (Path(mount.host_path) for mount in config.mounts if mount.selinux_relabel and mount.host_path),
        labels,
    )
    inputs = ContainerSpecInputs(
        container_id=plan.record.id,
        config=config,
        sandbox=sandbox_facts(engine, plan.sandbox),
        image=image_defaults(plan.image),
        image_name=config.image.user_specified_image or config.image.image,
        user=user,
        handler=plan.handler.spec,
        host=engine.host,
        settings=engine.oci,
        mount_sources=sources,
        image_volumes=images,
        anonymous_volumes=volumes,
        devices=devices,
        host_devices=await _all_devices(context, plan.handler),
        target_pid_namespace=_target_pid_namespace(engine, plan),
        seccomp_profile=seccomp,
        apparmor_profiles=await loaded_profiles(
            engine.host, with_default=needs_default_profile(context, engine.host, engine.oci)
        ),
        labels=labels,
        cdi=cdi,
        cdi_nodes=await nodes_of(config, cdi, engine.oci),
    )
    return container_spec(inputs)


def sandbox_facts(engine: Engine, sandbox: Sandbox) -> SandboxFacts:
    """Where the sandbox keeps what its containers share."""
    files = engine.paths.sandbox_files(sandbox.id)
    options = sandbox.config.linux.security_context.namespace_options
    return SandboxFacts(
        id=sandbox.id,
        config=sandbox.config,
        namespaces=sandbox.namespaces,
        resolv_conf_path=str(files / "resolv.conf"),
        hostname_path=str(files / "hostname"),
        hosts_path=str(files / "hosts"),
        shm_path=str(engine.paths.shared_memory(sandbox.id)) if options.ipc != criv1.NODE else None,
    )


async def _all_devices(
    context: criv1.LinuxContainerSecurityContext, handler: Handler
) -> tuple[HostDevice, ...]:
    if not wants_host_devices(context, handler.spec):
        return ()
    return await asyncio.to_thread(host_devices)


def _target_pid_namespace(engine: Engine, plan: ContainerPlan) -> str | None:
    """Path of the PID namespace of the container that mode TARGET names; it must run in the same sandbox."""
    options = plan.record.config.linux.security_context.namespace_options
    if options.pid != criv1.TARGET:
        return None
    target = engine.node.containers.find(options.target_id)
    if target is None or target.record.sandbox_id != plan.sandbox.id:
        raise InvalidArgument(
            f"namespace_options.target_id {options.target_id!r} is no container of {plan.sandbox}"
        )
    if not target.running:
        raise InvalidArgument(f"namespace_options.target_id names {target}, which does not run")
    return f"/proc/{target.status.pid}/ns/pid"
