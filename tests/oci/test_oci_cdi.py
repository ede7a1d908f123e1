"""Container Device Interface: files, names, conflicts and edits."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_inspection import mount_at

from cri.errors import InvalidArgument
from cri.oci.cdi import SpecFile, build_registry, requested_edits, requested_names, unknown_nodes
from cri.oci.cdi_spec import parse_spec
from cri.oci.devices import HostDevice
from cri.oci.handler import RuntimeHandler
from cri.oci.settings import OciSettings
from cri.oci.user import ResolvedUser

YAML = b"""
cdiVersion: "0.6.0"
kind: vendor.com/gpu
containerEdits:
  env: [ALL=1]
devices:
- name: "0"
  containerEdits:
    env: [CARD=0, FROM_IMAGE=cdi]
    deviceNodes:
    - {path: /dev/gpu0, permissions: rw}
    - {path: /dev/ctl, hostPath: /dev/gpuctl, type: c, major: 7, minor: 9, uid: 0, gid: 5, fileMode: 432}
    mounts: [{hostPath: /lib/gpu, containerPath: /usr/lib/gpu, options: [ro, bind]}]
    hooks: [{hookName: createContainer, path: /bin/hook, args: [hook, a], timeout: 5}]
    intelRdt: {closID: gold}
    additionalGids: [44, 0]
    netDevices: [{hostInterfaceName: eth7, name: data}]
- name: "1"
  containerEdits: {env: [CARD=1]}
"""
GPU = HostDevice("/dev/gpu0", "c", 195, 0, 0o660, 0, 44)


def one_device(name, env, kind="vendor.com/gpu"):
    edits = {"env": [env]}
    return json.dumps(
        {"cdiVersion": "0.5.0", "kind": kind, "devices": [{"name": name, "containerEdits": edits}]}
    ).encode()


@pytest.fixture
def registry():
    return build_registry([SpecFile("/etc/cdi/vendor.yaml", 0, YAML)])


def test_all_edits_reach_the_spec(build_container, config, registry):
    config.CDI_devices.add(name="vendor.com/gpu=0")
    user = ResolvedUser(1000, 1000, (1000,))
    spec = build_container(cdi=registry, cdi_nodes={"/dev/gpu0": GPU}, user=user)
    process, linux = spec["process"], spec["linux"]
    assert [entry for entry in process["env"] if entry.startswith(("ALL", "CARD", "FROM"))] == [
        "FROM_IMAGE=cdi",
        "ALL=1",
        "CARD=0",
    ]
    assert process["user"]["additionalGids"] == [44, 1000]
    assert linux["devices"] == [
        {
            "path": "/dev/gpu0",
            "type": "c",
            "major": 195,
            "minor": 0,
            "fileMode": 0o660,
            "uid": 1000,
            "gid": 1000,
        },
        {"path": "/dev/ctl", "type": "c", "major": 7, "minor": 9, "fileMode": 432, "uid": 0, "gid": 5},
    ]
    assert linux["resources"]["devices"][1:] == [
        {"allow": True, "type": "c", "major": 195, "minor": 0, "access": "rw"},
        {"allow": True, "type": "c", "major": 7, "minor": 9, "access": "rwm"},
    ]
    assert mount_at(spec, "/usr/lib/gpu") == {
        "destination": "/usr/lib/gpu",
        "source": "/lib/gpu",
        "options": ["ro", "bind"],
    }
    assert spec["hooks"] == {"createContainer": [{"path": "/bin/hook", "args": ["hook", "a"], "timeout": 5}]}
    assert linux["intelRdt"] == {"closID": "gold"}
    assert linux["netDevices"] == {"eth7": {"name": "data"}}


def test_interfaces_are_refused_where_the_runtime_would_ignore_them(build_container, config, registry):
    config.CDI_devices.add(name="vendor.com/gpu=0")
    with pytest.raises(InvalidArgument, match="CDI net device: 'eth7' .* runtime handler 'old'"):
        build_container(cdi=registry, cdi_nodes={"/dev/gpu0": GPU}, handler=RuntimeHandler("old"))


def test_a_files_edits_come_once(config, registry):
    for name in ("0", "1", "0"):
        config.CDI_devices.add(name=f"vendor.com/gpu={name}")
    edits = requested_edits(config, registry, OciSettings())
    assert [edit.env for edit in edits] == [("ALL=1",), ("CARD=0", "FROM_IMAGE=cdi"), ("CARD=1",)]


def test_names_from_annotations_follow_the_field(config):
    config.CDI_devices.add(name="a.com/x=1")
    config.annotations["cdi.k8s.io/plugin"] = "a.com/x=2,a.com/x=1"
    config.annotations["other"] = "nonsense"
    assert requested_names(config) == ("a.com/x=1", "a.com/x=2")


@pytest.mark.parametrize(
    "name", ["", "gpu0", "vendor/gpu", "vendor/=0", "/gpu=0", "v/g=a b", "1v/g=0", "v/g=0,"]
)
def test_names_must_be_qualified(config, name):
    config.annotations["cdi.k8s.io/x"] = name
    with pytest.raises(InvalidArgument, match=r"annotations\[cdi\.k8s\.io/x\]"):
        requested_names(config)


def test_only_the_hosts_facts_that_are_missing_are_asked_for(config, registry):
    config.CDI_devices.add(name="vendor.com/gpu=0")
    assert unknown_nodes(requested_edits(config, registry, OciSettings())) == ("/dev/gpu0",)


def test_a_device_node_that_is_not_there(build_container, config, registry):
    config.CDI_devices.add(name="vendor.com/gpu=0")
    with pytest.raises(InvalidArgument, match="/dev/gpu0"):
        build_container(cdi=registry)


def test_later_directories_override_earlier_ones(config):
    files = [
        SpecFile("/etc/cdi/a.json", 0, one_device("0", "FROM=etc")),
        SpecFile("/var/run/cdi/a.json", 1, one_device("0", "FROM=run")),
    ]
    config.CDI_devices.add(name="vendor.com/gpu=0")
    for order in (files, files[::-1]):
        assert requested_edits(config, build_registry(order), OciSettings())[-1].env == ("FROM=run",)


def test_conflicts_are_named(config):
    files = [SpecFile(f"/etc/cdi/{name}.json", 0, one_device("0", "A=1")) for name in "ab"]
    config.CDI_devices.add(name="vendor.com/gpu=0")
    with pytest.raises(InvalidArgument, match=r"several files: /etc/cdi/a\.json, /etc/cdi/b\.json"):
        requested_edits(config, build_registry(files), OciSettings())


def test_unknown_devices_are_named(config, registry):
    config.CDI_devices.add(name="vendor.com/gpu=7")
    config.CDI_devices.add(name="other.com/x=1")
    with pytest.raises(InvalidArgument, match=r"gpu=7 \(its kind is known.*other\.com/x=1.*/etc/cdi"):
        requested_edits(config, registry, OciSettings())
    with pytest.raises(InvalidArgument, match="unresolvable"):
        requested_edits(config, None, OciSettings())


def test_switched_off(config, registry):
    off = OciSettings(enable_cdi=False)
    config.annotations["cdi.k8s.io/x"] = "vendor.com/gpu=0"
    assert requested_edits(config, registry, off) == ()
    config.CDI_devices.add(name="vendor.com/gpu=0")
    with pytest.raises(InvalidArgument, match="enable_cdi"):
        requested_edits(config, registry, off)


def test_a_bad_file_does_not_hide_the_others(config):
    registry = build_registry(
        [SpecFile("/etc/cdi/bad.json", 0, b"{"), SpecFile("/etc/cdi/good.json", 0, one_device("0", "A=1"))]
    )
    assert list(registry.errors) == ["/etc/cdi/bad.json"]
    assert list(registry.devices) == ["vendor.com/gpu=0"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "gpu"}, "kind"),
        ({"cdiVersion": "2.0.0"}, "cdiVersion"),
        ({"devices": []}, "no devices"),
        ({"devices": [{"name": "a", "containerEdits": {}}] * 2}, "twice"),
        ({"devices": [{"name": "a b", "containerEdits": {}}]}, "device name"),
        ({"containerEdits": {"env": ["A"]}}, "env"),
        ({"containerEdits": {"deviceNodes": [{"path": "gpu"}]}}, "absolute"),
        ({"containerEdits": {"deviceNodes": [{"path": "/g", "permissions": "x"}]}}, "permissions"),
        ({"containerEdits": {"mounts": [{"hostPath": "", "containerPath": "/c"}]}}, "mount"),
        ({"containerEdits": {"hooks": [{"hookName": "poststart", "path": "h"}]}}, "hook"),
        ({"containerEdits": {"hooks": [{"hookName": "never", "path": "/h"}]}}, "never"),
        ({"unheard": 1}, "unheard"),
    ],
)
def test_what_makes_a_file_invalid(change, problem):
    content = json.loads(one_device("0", "A=1")) | change
    with pytest.raises(InvalidArgument, match=rf"/etc/cdi/x\.json: .*{problem}"):
        parse_spec("/etc/cdi/x.json", json.dumps(content).encode())


@given(st.binary(max_size=60), st.sampled_from(["a.json", "a.yaml"]))
def test_any_bytes_are_a_specification_or_an_error(content, path):
    registry = build_registry([SpecFile(path, 0, content)])
    assert not registry.devices
    assert path in registry.errors
