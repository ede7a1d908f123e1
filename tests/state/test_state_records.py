"""Records written to containerd are read back as they were, and damage is named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from api.containerd import Container as ContainerdContainer
from api.containerd import TypedValue
from api.wire import criv1
from cri.state.container_status import ContainerStatus, Phase
from cri.state.records import (
    CONTAINER_EXTENSION,
    SANDBOX_EXTENSION,
    STATUS_EXTENSION,
    BadRecordError,
    ContainerRecord,
    SandboxRecord,
    StatusRecord,
    container_name,
    sandbox_name,
)

SANDBOX = SandboxRecord(
    id="a" * 64,
    name="web_shop_uid_0",
    config=criv1.PodSandboxConfig(metadata=criv1.PodSandboxMetadata(name="web", namespace="shop", uid="uid")),
    network_namespace="/run/netns/x",
    runtime_handler="runc",
    created_at=5,
    ip="10.0.0.1",
    additional_ips=("fd00::1",),
    cni_result={"Interfaces": {}},
)
CONTAINER = ContainerRecord(
    id="b" * 64,
    name="app_web_shop_uid_0",
    sandbox_id="a" * 64,
    config=criv1.ContainerConfig(envs=[criv1.KeyValue(key="K", value=b"\xff")]),
    image_id="sha256:1",
    log_path="/var/log/pods/app.log",
    stop_signal="SIGTERM",
)


def containerd(name: str, extension: TypedValue, **others: TypedValue) -> ContainerdContainer:
    return ContainerdContainer(id="a" * 64, created_at=5, extensions={name: extension, **others})


def test_a_sandbox_is_read_back():
    assert SandboxRecord.from_containerd(containerd(SANDBOX_EXTENSION, SANDBOX.to_extension())) == SANDBOX


def test_a_container_is_read_back():
    record = containerd(CONTAINER_EXTENSION, CONTAINER.to_extension())
    assert ContainerRecord.from_containerd(replace(record, id=CONTAINER.id)) == CONTAINER


def test_a_status_is_read_back_without_its_pid():
    status = ContainerStatus(Phase.RUNNING, created_at=1).exited(3, 9, oom_killed=False, message="m")
    resources = criv1.ContainerResources(linux=criv1.LinuxContainerResources(cpu_shares=7))
    stored = StatusRecord(status, resources)
    assert StatusRecord.from_containerd(containerd(STATUS_EXTENSION, stored.to_extension())) == stored


def test_a_container_of_another_server_has_no_status():
    assert StatusRecord.from_containerd(ContainerdContainer(id="a")) is None


def test_what_containerds_own_plugin_wrote_is_understood():
    written = {
        "Version": "v1",
        "Metadata": {
            "ID": "a" * 64,
            "Name": "web_shop_uid_0",
            "Config": {"metadata": {"name": "web", "uid": "uid", "namespace": "shop"}, "linux": {}},
            "NetNSPath": "/var/run/netns/cni-1",
            "IP": "10.88.0.2",
            "AdditionalIPs": None,
            "RuntimeHandler": "",
            "CNIResult": None,
            "ProcessLabel": "",
        },
    }
    value = TypedValue("github.com/containerd/cri/pkg/store/sandbox/Metadata", json.dumps(written).encode())
    record = SandboxRecord.from_containerd(containerd(SANDBOX_EXTENSION, value))
    assert (record.ip, record.additional_ips, record.config.metadata.namespace) == ("10.88.0.2", (), "shop")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "JSONDecodeError"),
        (b"[]", "TypeError"),
        (b'{"Version":"v2","Metadata":{}}', "has version 'v2'"),
        (b'{"Version":"v1","Metadata":3}', "Metadata is int"),
        (b'{"Version":"v1","Metadata":{}}', "Name"),
        (b'{"Version":"v1","Metadata":{"Name":"n","Config":{"metadata":{"name":3}}}}', "TypeError"),
    ],
)
def test_damage_is_named(text, complaint):
    with pytest.raises(BadRecordError, match=complaint) as caught:
        SandboxRecord.from_containerd(containerd(SANDBOX_EXTENSION, TypedValue("x", text)))
    assert SANDBOX_EXTENSION in str(caught.value)


def test_names_are_containerds():
    pod = criv1.PodSandboxMetadata(name="web", namespace="shop", uid="u", attempt=2)
    assert sandbox_name(pod) == "web_shop_u_2"
    assert container_name(criv1.ContainerMetadata(name="app", attempt=1), pod) == "app_web_shop_u_1"
