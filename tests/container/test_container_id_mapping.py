"""Whose ids the snapshots and streams of a pod have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from api.containerd import Mount, typed
from api.wire import criv1
from api.wire.containerd import runc_pb2
from cri.container.handlers import Handler, SnapshotIds
from cri.container.id_mapping import ids_of, release_layers, root_mounts, snapshot_labels, task_options
from cri.linux.user_namespaces import IdRange
from cri.oci.handler import RuntimeHandler
from cri.state.paths import NodePaths
from cri.state.records import SandboxRecord
from cri.state.sandbox import Sandbox

OPTIONS = typed(runc_pb2.Options(binary_name="/opt/runc"))
HERE = Handler("able", RuntimeHandler("able"), OPTIONS, "overlayfs", snapshot_ids=SnapshotIds.MAPPED_HERE)
BY_LABELS = replace(HERE, snapshot_ids=SnapshotIds.MAPPED_BY_SNAPSHOTTER)


def pod(*, own: bool = True) -> criv1.PodSandboxConfig:
    config = criv1.PodSandboxConfig()
    if own:
        ids = criv1.IDMapping(host_id=100_000, length=65_536)
        user = criv1.UserNamespace(mode=criv1.POD, uids=[ids], gids=[ids])
        config.linux.security_context.namespace_options.userns_options.CopyFrom(user)
    return config


def test_ids_of_a_pod():
    assert ids_of(pod()) == IdRange(100_000, 100_000, 65_536)
    assert ids_of(pod(own=False)) is None


def test_only_a_snapshotter_that_maps_is_told():
    assert snapshot_labels(BY_LABELS, pod()) == {
        "containerd.io/snapshot/uidmapping": "0:100000:65536",
        "containerd.io/snapshot/gidmapping": "0:100000:65536",
    }
    assert snapshot_labels(BY_LABELS, pod(own=False)) == snapshot_labels(HERE, pod()) == {}


def test_the_pods_root_owns_the_output_pipes():
    shifted = task_options(HERE, pod())
    assert shifted is not None
    options = shifted.decode(runc_pb2.Options)
    assert (options.binary_name, options.io_uid, options.io_gid) == ("/opt/runc", 100_000, 100_000)
    assert task_options(HERE, pod(own=False)) is OPTIONS
    assert task_options(replace(HERE, options=None), pod()) is None


async def test_mounts_stay_as_they_are_where_nothing_is_to_be_mapped_here(tmp_path: Path):
    paths = NodePaths(tmp_path / "root", tmp_path / "state")
    mounts = [Mount("overlay", "overlay", options=("lowerdir=/a",))]
    for handler, config in ((HERE, pod(own=False)), (BY_LABELS, pod())):
        sandbox = Sandbox(SandboxRecord("0" * 64, "name", config, "", ""))
        async with root_mounts(paths, sandbox, handler, "1" * 64, mounts) as given:
            assert given is mounts


def test_leftovers_of_a_killed_server_are_released(tmp_path: Path):
    paths = NodePaths(tmp_path / "root", tmp_path / "state")
    release_layers(paths)
    paths.id_mapped_layers("1" * 64).mkdir(parents=True)
    release_layers(paths)
    assert list((tmp_path / "state" / "layers").iterdir()) == []
