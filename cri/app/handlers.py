"""Runtime handlers from their configuration: options for the shim, base spec, features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from api.containerd import TypedValue, typed
from api.wire.containerd import runc_pb2, runtimeoptions_pb2
from cri.container.handlers import Handler, Handlers, SandboxMode
from cri.errors import InvalidArgument
from cri.oci.handler import RUNC_TYPE, RuntimeHandler
from cri.oci.spec import Spec, from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cri.app.config.configuration import Configuration
    from cri.app.config.schema import RuntimeSection

M = TypeVar("M", runc_pb2.Options, runtimeoptions_pb2.Options)

RUNC_OPTIONS: Mapping[str, str] = {
    "BinaryName": "binary_name",
    "CriuImagePath": "criu_image_path",
    "CriuWorkPath": "criu_work_path",
    "IoGid": "io_gid",
    "IoUid": "io_uid",
    "NoNewKeyring": "no_new_keyring",
    "NoPivotRoot": "no_pivot_root",
    "Root": "root",
    "ShimCgroup": "shim_cgroup",
    "SystemdCgroup": "systemd_cgroup",
}
"""Keys of `[containerd.runtimes.NAME.options]` and the fields of containerd.runc.v1.Options that they set."""
GENERIC_OPTIONS: Mapping[str, str] = {"TypeUrl": "type_url", "ConfigPath": "config_path"}
"""The same for shims other than runc's (runtimeoptions.v1.Options)."""


def build_handlers(configuration: Configuration) -> Handlers:
    """All handlers. Raises InvalidArgument naming the key that cannot be used."""
    section = configuration.containerd
    handlers = {
        name: _handler(name, runtime, section.snapshotter) for name, runtime in section.runtimes.items()
    }
    return Handlers(handlers, section.default_runtime_name)


def _handler(name: str, runtime: RuntimeSection, snapshotter: str) -> Handler:
    return Handler(
        name=name,
        spec=RuntimeHandler(
            name=name,
            runtime_type=runtime.runtime_type,
            systemd_cgroup=bool(runtime.options.get("SystemdCgroup", False)),
            privileged_without_host_devices=runtime.privileged_without_host_devices,
            privileged_without_host_devices_all_devices_allowed=(
                runtime.privileged_without_host_devices_all_devices_allowed
            ),
            cgroup_writable=runtime.cgroup_writable,
            base_spec=_base_spec(name, runtime.base_runtime_spec),
            pod_annotations=runtime.pod_annotations,
            container_annotations=runtime.container_annotations,
        ),
        options=_options(name, runtime),
        snapshotter=runtime.snapshotter or snapshotter,
        platform=runtime.platform,
        cni_conf_dir=Path(runtime.cni_conf_dir) if runtime.cni_conf_dir else None,
        cni_max_conf_num=runtime.cni_max_conf_num,
        sandbox_mode=SandboxMode(runtime.sandbox_mode) if runtime.sandbox_mode else None,
    )


def _options(name: str, runtime: RuntimeSection) -> TypedValue | None:
    if runtime.runtime_type == RUNC_TYPE:
        return typed(_filled(name, runc_pb2.Options(), RUNC_OPTIONS, runtime.options))
    if not runtime.options:
        return None
    return typed(_filled(name, runtimeoptions_pb2.Options(), GENERIC_OPTIONS, runtime.options))


def _filled(name: str, message: M, fields: Mapping[str, str], options: Mapping[str, object]) -> M:
    for key, value in options.items():
        field = fields.get(key)
        if field is None:
            known = ", ".join(sorted(fields))
            raise InvalidArgument(f"[containerd.runtimes.{name}.options] has no key {key!r} (known: {known})")
        try:
            setattr(message, field, value)
        except TypeError as error:
            raise InvalidArgument(f"[containerd.runtimes.{name}.options] {key}: {error}") from error
    return message


def _base_spec(name: str, path: str) -> Spec | None:
    if not path:
        return None
    try:
        return from_json(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"[containerd.runtimes.{name}] base_runtime_spec {path}: {error}") from error
