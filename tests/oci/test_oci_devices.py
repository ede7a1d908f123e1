"""Device nodes and rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cri.errors import InvalidArgument
from cri.oci.devices import DeviceSource, HostDevice, wants_host_devices
from cri.oci.settings import OciSettings

FUSE = HostDevice("/dev/fuse", "c", 10, 229, 0o666)
DISK = HostDevice("/dev/disks/sub/vda", "b", 253, 0, 0o660, 0, 6)
DENY = {"allow": False, "access": "rwm"}
ALL = {"allow": True, "access": "rwm"}


@pytest.fixture
def privileged(config, pod):
    config.linux.security_context.privileged = pod.linux.security_context.privileged = True


def test_everything_is_denied_by_default(build_container):
    linux = build_container()["linux"]
    assert linux["resources"]["devices"] == [DENY]
    assert "devices" not in linux


def test_a_device_gets_a_node_and_a_rule(build_container, config):
    config.devices.add(host_path="/dev/link", container_path="/dev/mine", permissions="mr")
    linux = build_container(devices={"/dev/link": DeviceSource("/dev/fuse", (FUSE,))})["linux"]
    assert linux["devices"] == [
        {"path": "/dev/mine", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]
    rule = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "mr"}
    assert linux["resources"]["devices"] == [DENY, rule]


def test_a_directory_keeps_its_shape(build_container, config):
    config.devices.add(host_path="/dev/disks", container_path="/disks")
    linux = build_container(devices={"/dev/disks": DeviceSource("/dev/disks", (DISK,))})["linux"]
    assert linux["devices"][0]["path"] == "/disks/sub/vda"
    assert linux["resources"]["devices"][1]["access"] == "rwm"


@pytest.mark.parametrize(
    "fields",
    [
        {"host_path": "/dev/none"},
        {"host_path": "/dev/fuse", "permissions": "x"},
        {"host_path": "/dev/fuse", "container_path": "dev/fuse"},
    ],
)
def test_impossible_devices(build_container, config, fields):
    config.devices.add(**fields)
    with pytest.raises(InvalidArgument, match=r"config\.devices"):
        build_container(devices={"/dev/fuse": DeviceSource("/dev/fuse", (FUSE,))})


def test_ownership_from_the_security_context(build_container, config):
    config.devices.add(host_path="/dev/disks", container_path="/disks")
    config.linux.security_context.run_as_user.value = 1000
    sources = {"/dev/disks": DeviceSource("/dev/disks", (DISK,))}
    node = build_container(devices=sources)["linux"]["devices"][0]
    assert (node["uid"], node["gid"]) == (0, 6)
    owning = OciSettings(device_ownership_from_security_context=True)
    node = build_container(devices=sources, settings=owning)["linux"]["devices"][0]
    assert (node["uid"], node["gid"]) == (1000, 6), "a group not asked for stays the host's"


@pytest.mark.usefixtures("privileged")
def test_a_privileged_container_has_all_devices(build_container, config, handler):
    config.devices.add(host_path="/dev/fuse")
    sources = {"/dev/fuse": DeviceSource("/dev/fuse", (replace(FUSE, file_mode=0o600),))}
    linux = build_container(devices=sources, host_devices=(FUSE, DISK))["linux"]
    assert [node["path"] for node in linux["devices"]] == ["/dev/fuse", "/dev/disks/sub/vda"]
    assert linux["devices"][0]["fileMode"] == 0o600, "the requested one counts"
    assert linux["resources"]["devices"] == [ALL]
    assert wants_host_devices(config.linux.security_context, handler)


@pytest.mark.usefixtures("privileged")
def test_privileged_without_host_devices(build_container, config, handler):
    without = replace(handler, privileged_without_host_devices=True)
    linux = build_container(handler=without, host_devices=(FUSE,))["linux"]
    assert "devices" not in linux
    assert linux["resources"]["devices"] == [DENY]
    assert not wants_host_devices(config.linux.security_context, without)
    allowed = replace(without, privileged_without_host_devices_all_devices_allowed=True)
    linux = build_container(handler=allowed, host_devices=(FUSE,))["linux"]
    assert "devices" not in linux
    assert linux["resources"]["devices"] == [ALL]
