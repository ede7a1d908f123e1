"""Namespaces of sandboxes and containers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from spec_inspection import mount_at, namespace_paths

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci.handler import RuntimeHandler
from cri.oci.namespaces import NamespacePaths, UserMappings, user_mappings, with_namespaces

HERE = "/proc/4711/ns"


def mapped(options, host=1000, length=65536):
    options.userns_options.mode = criv1.POD
    options.userns_options.uids.add(host_id=host, length=length)
    options.userns_options.gids.add(host_id=host, length=length)


def test_a_pod_has_its_own(build_sandbox):
    assert namespace_paths(build_sandbox()) == {
        "mount": None,
        "network": "/run/netns/cni-1",
        "uts": None,
        "ipc": None,
        "pid": None,
    }


def test_a_pod_on_the_host_shares_them(build_sandbox, pod):
    options = pod.linux.security_context.namespace_options
    options.network = options.pid = options.ipc = criv1.NODE
    spec = build_sandbox(namespaces=NamespacePaths(), shm_path=None)
    assert namespace_paths(spec) == {"mount": None}
    assert "hostname" not in spec, "a hostname needs a UTS namespace"
    assert mount_at(spec, "/dev/shm")["source"] == "/dev/shm"


def test_containers_join_their_pod(build_container):
    joined = {"mount": None, "pid": f"{HERE}/pid", "ipc": f"{HERE}/ipc", "uts": f"{HERE}/uts"}
    assert namespace_paths(build_container()) == joined | {"network": f"{HERE}/net"}


def test_containers_of_a_pod_on_the_host_are_there_too(build_container, pod):
    options = pod.linux.security_context.namespace_options
    options.network = options.pid = options.ipc = criv1.NODE
    assert namespace_paths(build_container()) == {"mount": None}


def test_pid_modes(build_container, config):
    options = config.linux.security_context.namespace_options
    options.pid = criv1.CONTAINER
    assert namespace_paths(build_container())["pid"] is None
    options.pid, options.target_id = criv1.TARGET, "other"
    assert namespace_paths(build_container(target_pid_namespace="/proc/9/ns/pid"))["pid"] == "/proc/9/ns/pid"
    with pytest.raises(InvalidArgument, match="target_id"):
        build_container()


@pytest.mark.parametrize(
    ("field", "mode"),
    [
        ("network", criv1.NODE),
        ("ipc", criv1.NODE),
        ("pid", criv1.NODE),
        ("network", criv1.CONTAINER),
        ("pid", 9),
    ],
)
def test_modes_that_contradict_the_pod_are_refused(build_container, config, field, mode):
    setattr(config.linux.security_context.namespace_options, field, mode)
    with pytest.raises(InvalidArgument, match=f"namespace_options.{field}"):
        build_container()


def test_a_sandbox_has_no_target(build_sandbox, pod):
    pod.linux.security_context.namespace_options.pid = criv1.TARGET
    with pytest.raises(InvalidArgument, match=r"namespace_options\.pid"):
        build_sandbox()


def test_a_cgroup_namespace_on_v2_unless_privileged(build_container, config, pod, host):
    unified = replace(host, cgroup_version=2, cgroup_mount_options=("rw", "nsdelegate"))
    spec = build_container(host=unified)
    assert namespace_paths(spec)["cgroup"] is None
    assert "nsdelegate" not in mount_at(spec, "/sys/fs/cgroup")["options"]
    config.linux.security_context.privileged = pod.linux.security_context.privileged = True
    spec = build_container(host=unified)
    assert "cgroup" not in namespace_paths(spec)
    assert "nsdelegate" in mount_at(spec, "/sys/fs/cgroup")["options"]


def test_user_namespaces_map_ids_and_files(build_sandbox, build_container, pod, config):
    mapped(pod.linux.security_context.namespace_options)
    mapped(config.linux.security_context.namespace_options)
    line = [{"containerID": 0, "hostID": 1000, "size": 65536}]
    sandbox = build_sandbox(namespaces=NamespacePaths(network="/run/netns/cni-1", user="/state/s1/user"))
    assert namespace_paths(sandbox)["user"] == "/state/s1/user"
    container = build_container()
    assert namespace_paths(container)["user"] == f"{HERE}/user"
    for spec in (sandbox, container):
        assert spec["linux"]["uidMappings"] == spec["linux"]["gidMappings"] == line
    assert mount_at(container, "/etc/resolv.conf")["uidMappings"] == line
    assert "uidMappings" not in mount_at(container, "/dev/shm")


def test_user_namespaces_on_the_hosts_network_bind_sys(build_sandbox, build_container, pod, config):
    for context in (pod.linux.security_context, config.linux.security_context):
        mapped(context.namespace_options)
        context.namespace_options.network = criv1.NODE
    for spec in (build_sandbox(namespaces=NamespacePaths()), build_container()):
        assert mount_at(spec, "/sys")["type"] == "bind"


def test_user_namespaces_need_a_handler_that_has_them(build_sandbox, pod):
    mapped(pod.linux.security_context.namespace_options)
    with pytest.raises(InvalidArgument, match="userns_options"):
        build_sandbox(handler=RuntimeHandler("old"))


def test_containers_must_be_mapped_as_their_pod(build_container, pod):
    mapped(pod.linux.security_context.namespace_options)
    with pytest.raises(InvalidArgument, match="same as the sandbox"):
        build_container()


def options_with(mode=criv1.POD, uids=((0, 1000, 10),), gids=((0, 1000, 10),)):
    options = criv1.NamespaceOption()
    options.userns_options.mode = mode
    for field, lines in (("uids", uids), ("gids", gids)):
        for container, host, length in lines:
            getattr(options.userns_options, field).add(container_id=container, host_id=host, length=length)
    return options


def test_mappings_that_are_supported():
    assert user_mappings(criv1.NamespaceOption()) is None
    assert user_mappings(options_with(criv1.NODE, (), ())) is None
    assert user_mappings(options_with()) == UserMappings(1000, 1000, 10)


@pytest.mark.parametrize(
    "options",
    [
        options_with(criv1.CONTAINER),
        options_with(criv1.TARGET, (), ()),
        options_with(criv1.NODE),
        options_with(uids=()),
        options_with(uids=((0, 1000, 10), (10, 5000, 10))),
        options_with(uids=((1, 1000, 10),)),
        options_with(uids=((0, 1000, 0),)),
        options_with(uids=((0, 2**32 - 5, 10),)),
        options_with(gids=((0, 1000, 11),)),
    ],
)
def test_mappings_that_are_not(options):
    with pytest.raises(InvalidArgument, match="userns_options"):
        user_mappings(options)


def test_a_base_specs_other_namespaces_stay():
    base = [{"type": "time"}, {"type": "network"}, {"type": "cgroup", "path": "/x"}]
    assert with_namespaces(base, [{"type": "mount"}, {"type": "cgroup"}]) == [
        {"type": "time"},
        {"type": "mount"},
        {"type": "cgroup"},
    ]
