"""Mounts: which, in which order, with which options."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_inspection import mount_at

from api.wire import criv1
from cri.errors import InvalidArgument, Unimplemented
from cri.oci.handler import RuntimeHandler
from cri.oci.image_defaults import ImageDefaults
from cri.oci.mounts import AnonymousVolume, MountSource, anonymous_volume_paths, clean
from cri.oci.settings import OciSettings

SHARED = MountSource("/real/data", "/real", "shared")
SLAVE = MountSource("/real/data", "/real", "slave")
PRIVATE = MountSource("/real/data", "/real")


def test_the_pods_files_are_there(build_container):
    spec = build_container()
    assert mount_at(spec, "/etc/resolv.conf") == {
        "destination": "/etc/resolv.conf",
        "type": "bind",
        "source": "/state/s1/resolv.conf",
        "options": ["rbind", "rprivate", "rw"],
    }
    assert mount_at(spec, "/etc/hostname")["source"] == "/state/s1/hostname"
    assert mount_at(spec, "/dev/shm")["source"] == "/state/s1/shm"
    assert not any(mount["destination"] in ("/etc/hosts", "/run") for mount in spec["mounts"])
    assert mount_at(spec, "/sys/fs/cgroup")["options"][-1] == "ro"


def test_files_are_read_only_with_the_root(build_container, config):
    config.linux.security_context.readonly_rootfs = True
    spec = build_container()
    assert spec["root"] == {"path": "rootfs", "readonly": True}
    assert mount_at(spec, "/etc/hostname")["options"][-1] == "ro"
    assert mount_at(spec, "/dev/shm")["options"][-1] == "rw"


def test_host_ipc_shows_the_hosts_shm(build_container, pod):
    pod.linux.security_context.namespace_options.ipc = criv1.NODE
    assert mount_at(build_container(), "/dev/shm")["source"] == "/dev/shm"


def test_a_requested_mount_replaces_ours(build_container, config):
    config.mounts.add(container_path="/etc/resolv.conf/", host_path="/mine")
    config.mounts.add(container_path="/dev", host_path="/dev")
    spec = build_container()
    assert mount_at(spec, "/etc/resolv.conf/")["source"] == "/mine"
    below = [mount["destination"] for mount in spec["mounts"] if mount["destination"].startswith("/dev/")]
    assert below == ["/dev/shm"], "file systems of our own hide the requested /dev"


def test_outer_mounts_come_before_inner_ones(build_container, config):
    for path in ("/a/b/c", "/a", "/a/b"):
        config.mounts.add(container_path=path, host_path="/h")
    order = [m["destination"] for m in build_container()["mounts"] if m["destination"].startswith("/a")]
    assert order == ["/a", "/a/b", "/a/b/c"]


@pytest.mark.parametrize(
    ("propagation", "source", "option", "root"),
    [
        (criv1.PROPAGATION_PRIVATE, PRIVATE, "rprivate", None),
        (criv1.PROPAGATION_HOST_TO_CONTAINER, SLAVE, "rslave", "rslave"),
        (criv1.PROPAGATION_HOST_TO_CONTAINER, SHARED, "rslave", "rslave"),
        (criv1.PROPAGATION_BIDIRECTIONAL, SHARED, "rshared", "rshared"),
    ],
)
def test_propagation(build_container, config, propagation, source, option, root):
    config.mounts.add(container_path="/data", host_path="/link", propagation=propagation)
    spec = build_container(mount_sources={"/link": source})
    assert mount_at(spec, "/data")["options"] == ["rbind", option, "rw"]
    assert mount_at(spec, "/data")["source"] == "/real/data"
    assert spec["linux"].get("rootfsPropagation") == root


def test_the_widest_propagation_decides_for_the_root(build_container, config):
    for path, mode in (("/a", criv1.PROPAGATION_BIDIRECTIONAL), ("/b", criv1.PROPAGATION_HOST_TO_CONTAINER)):
        config.mounts.add(container_path=path, host_path="/link", propagation=mode)
    assert build_container(mount_sources={"/link": SHARED})["linux"]["rootfsPropagation"] == "rshared"


@pytest.mark.parametrize(
    ("propagation", "source"),
    [
        (criv1.PROPAGATION_HOST_TO_CONTAINER, PRIVATE),
        (criv1.PROPAGATION_BIDIRECTIONAL, PRIVATE),
        (criv1.PROPAGATION_BIDIRECTIONAL, SLAVE),
        (7, PRIVATE),
    ],
)
def test_propagation_that_the_source_cannot_give(build_container, config, propagation, source):
    config.mounts.add(container_path="/data", host_path="/link", propagation=propagation)
    with pytest.raises(InvalidArgument, match=r"config\.mounts\.propagation"):
        build_container(mount_sources={"/link": source})


def test_recursive_read_only(build_container, config):
    mount = config.mounts.add(container_path="/data", host_path="/h", readonly=True, recursive_read_only=True)
    assert mount_at(build_container(), "/data")["options"] == ["rbind", "rprivate", "rro"]
    with pytest.raises(Unimplemented, match=r"^RROUnsupported: "):
        build_container(handler=RuntimeHandler("old"))
    mount.propagation = criv1.PROPAGATION_HOST_TO_CONTAINER
    with pytest.raises(InvalidArgument, match="PROPAGATION_PRIVATE"):
        build_container(mount_sources={"/h": SHARED})
    mount.propagation, mount.readonly = criv1.PROPAGATION_PRIVATE, False
    with pytest.raises(InvalidArgument, match="readonly"):
        build_container()


@pytest.mark.parametrize(
    "fields",
    [
        {"container_path": "", "host_path": "/h"},
        {"container_path": "rel", "host_path": "/h"},
        {"container_path": "/c", "host_path": ""},
        {"container_path": "/c", "host_path": "rel"},
        {"container_path": "/c\0", "host_path": "/h"},
        {"container_path": "/c", "host_path": "/h", "image_sub_path": "x"},
    ],
)
def test_impossible_paths(build_container, config, fields):
    config.mounts.add(**fields)
    with pytest.raises(InvalidArgument, match=r"config\.mounts"):
        build_container()


def test_id_mappings_of_a_mount(build_container, config):
    mount = config.mounts.add(container_path="/data", host_path="/h")
    mount.uidMappings.add(container_id=0, host_id=5, length=9)
    with pytest.raises(InvalidArgument, match="gidMappings"):
        build_container()
    mount.gidMappings.add(container_id=0, host_id=6, length=9)
    spec = build_container()
    assert mount_at(spec, "/data")["gidMappings"] == [{"containerID": 0, "hostID": 6, "size": 9}]
    with pytest.raises(InvalidArgument, match=r"config\.mounts\.uidMappings: .* runtime handler 'old'"):
        build_container(handler=RuntimeHandler("old"))
    mount.gidMappings[0].length = 0
    with pytest.raises(InvalidArgument, match="length"):
        build_container()


def test_image_volumes(build_container, config):
    mount = config.mounts.add(container_path="/model", readonly=True)
    mount.image.image = "registry.example/model:1"
    mount.uidMappings.add(container_id=0, host_id=5, length=9)
    spec = build_container(image_volumes={"/model": "/state/volumes/x"})
    assert mount_at(spec, "/model") == {
        "destination": "/model",
        "type": "bind",
        "source": "/state/volumes/x",
        "options": ["rbind", "rprivate", "ro"],
    }
    with pytest.raises(InvalidArgument, match=r"^ImageVolumeMountFailed: "):
        build_container()
    mount.readonly = False
    with pytest.raises(InvalidArgument, match=r"^ImageVolumeMountFailed: .*readonly"):
        build_container()
    mount.readonly, mount.host_path = True, "/h"
    with pytest.raises(InvalidArgument, match=r"^ImageVolumeMountFailed: .*host_path"):
        build_container()


def test_anonymous_volumes(build_container, config):
    config.mounts.add(container_path="/taken/", host_path="/h")
    image = ImageDefaults(volumes=("/data", "relative", "/taken", "/data/"))
    assert anonymous_volume_paths(image, config.mounts, OciSettings()) == ("/data", "/relative")
    ignoring = OciSettings(ignore_image_defined_volumes=True)
    assert anonymous_volume_paths(image, config.mounts, ignoring) == ()
    spec = build_container(anonymous_volumes=(AnonymousVolume("/data", "/state/c1/volumes/1"),))
    assert mount_at(spec, "/data")["source"] == "/state/c1/volumes/1"


def test_privileged_containers_and_their_pods_may_write_the_kernels(
    build_container, build_sandbox, config, pod
):
    config.linux.security_context.privileged = pod.linux.security_context.privileged = True
    spec = build_container()
    assert "rw" in mount_at(spec, "/sys/fs/cgroup")["options"]
    for each in (spec, build_sandbox()):
        assert "rw" in mount_at(each, "/sys")["options"]
        assert "ro" not in mount_at(each, "/sys")["options"]


def test_a_handler_may_make_cgroups_writable(build_container, handler):
    spec = build_container(handler=replace(handler, cgroup_writable=True))
    assert mount_at(spec, "/sys/fs/cgroup")["options"][-1] == "rw"
    assert "ro" in mount_at(spec, "/sys")["options"]


def test_the_sandbox_sees_its_files_read_only(build_sandbox):
    spec = build_sandbox()
    for path in ("/dev/shm", "/etc/resolv.conf"):
        assert mount_at(spec, path)["options"] == ["rbind", "ro", "nosuid", "nodev", "noexec"]
    assert spec["root"]["readonly"] is True
    assert not [
        m for m in build_sandbox(resolv_conf_path=None)["mounts"] if m["destination"].startswith("/etc")
    ]


@given(st.text("/.ab", min_size=1, max_size=12))
def test_cleaning_is_idempotent(path):
    assert clean(clean(path)) == clean(path)
    assert not clean(path).startswith("//")
