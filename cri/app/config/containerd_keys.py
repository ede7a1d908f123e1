"""Keys of containerd's CRI plugin that stand elsewhere here, or nowhere, and why. Data only.

Paths are those of configuration version 2, relative to the CRI plugin's table; `*` is any one part and is carried
over. A key that is in neither table here keeps its name and place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cri.app.config.problems import KeyPath

CRI_TABLES: Mapping[int, tuple[str, ...]] = {
    1: ("cri",),
    2: ("io.containerd.grpc.v1.cri",),
    3: ("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images"),
}
"""Below `[plugins]`, by version of the file; a later table goes over an earlier one."""
IMAGES_TABLE = "io.containerd.cri.v1.images"
VERIFIER_TABLE = "io.containerd.image-verifier.v1.bindir"

MOVED_IMAGE_KEYS: Mapping[KeyPath, KeyPath] = {
    ("snapshotter",): ("containerd", "snapshotter"),
    ("disable_snapshot_annotations",): ("containerd", "disable_snapshot_annotations"),
    ("discard_unpacked_layers",): ("containerd", "discard_unpacked_layers"),
}
"""Keys of version 3's image table that version 2 has elsewhere."""
RUNTIME_TABLE = "io.containerd.cri.v1.runtime"
MOVED_RUNTIME_KEYS: Mapping[KeyPath, KeyPath] = {
    ("stats_collect_period",): ("runtime", "stats_collect_period"),
}
"""Keys of version 3's runtime table that mean another thing than the same key of version 2."""

MOVED: Mapping[KeyPath, KeyPath] = {
    ("pinned_images", "sandbox"): ("sandbox_image",),
    ("registry", "auths", "*", "*"): ("registry", "configs", "*", "auth", "*"),
    ("runtime_platforms", "*", "*"): ("containerd", "runtimes", "*", "*"),
    ("containerd", "default_runtime", "*"): ("containerd", "runtimes", "default", "*"),
    ("containerd", "default_runtime", "options", "*"): ("containerd", "runtimes", "default", "options", "*"),
    ("containerd", "untrusted_workload_runtime", "*"): ("containerd", "runtimes", "untrusted", "*"),
    ("containerd", "untrusted_workload_runtime", "options", "*"): (
        *("containerd", "runtimes", "untrusted", "options", "*"),
    ),
}

_RUNTIME = ("containerd", "runtimes", "*")
NOWHERE: Mapping[KeyPath, str] = {
    ("disable_cgroup",): "containers always have cgroups here",
    ("disable_tcp_service",): "CRI is served on the Unix socket only; streams have an address of their own",
    ("systemd_cgroup",): "set SystemdCgroup in [containerd.runtimes.runc.options]",
    ("image_decryption", "*"): "encrypted images are decrypted by containerd's own stream processors",
    ("image_pull_with_sync_fs",): "containerd decides when the snapshotter's file system is synced",
    ("concurrent_layer_fetch_buffer",): "layers are streamed; there is no buffer to set",
    ("ignore_deprecation_warnings",): "there are no such warnings here",
    ("runtime", "stats_collect_period"): "the usage of containers is sampled at a rate of its own",
    ("stats_retention_period",): "usage is kept only as long as the sampler needs it",
    ("enable_criu",): "checkpointing is used where criu is installed",
    ("enable_experimental_restore_via_create",): "containers are not restored through CreateContainer",
    ("cni", "use_internal_loopback"): "the loopback interface is always brought up without a plugin",
    ("containerd", "no_pivot"): "set NoPivotRoot in [containerd.runtimes.runc.options]",
    ("containerd", "ignore_blockio_not_enabled_errors"): "blockio classes are not offered",
    ("containerd", "ignore_rdt_not_enabled_errors"): "RDT classes are not offered",
    ("containerd", "disable_snapshot_layers"): "it never had an effect",
    (*_RUNTIME, "runtime_engine"): "it belongs to shims of containerd 1.0; set BinaryName in the options",
    (*_RUNTIME, "runtime_root"): "it belongs to shims of containerd 1.0; set Root in the options",
    (*_RUNTIME, "runtime_path"): "containerd finds the shim on its PATH by runtime_type",
    (*_RUNTIME, "sandboxer"): "sandboxes are made here; containerd's sandbox controllers are not used",
    (*_RUNTIME, "io_type"): "container output goes through FIFOs to the log keeper",
    (*_RUNTIME, "options", "CriuPath"): "criu is looked for on the PATH",
    (*_RUNTIME, "options", "TaskApiAddress"): "containerd sets it by itself",
    (*_RUNTIME, "options", "TaskApiVersion"): "containerd sets it by itself",
    (*_RUNTIME, "options", "ConfigBody"): "it is not text; use ConfigPath",
}
OLD_RUNTIME_TYPES: Mapping[str, str] = {
    "io.containerd.runtime.v1.linux": "io.containerd.runc.v2",
    "io.containerd.runc.v1": "io.containerd.runc.v2",
}
"""Shims that containerd 2 no longer has, and what runs the same containers."""
