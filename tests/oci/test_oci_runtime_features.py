"""What `runc features` says, and what a handler can do by it."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest

from cri.oci.host import HostFacts
from cri.oci.runtime_features import (
    RuntimeFeatures,
    parse_features,
    recursive_read_only_mounts,
    user_namespaces,
)

HOST = HostFacts(1, (), (), "x86_64", (6, 1))
RUNC_1_1 = {
    "mountOptions": ["ro", "rro"],
    "linux": {"namespaces": ["mount", "user"], "capabilities": ["CAP_KILL"]},
}
RUNC_1_2 = {
    "ociVersionMax": "1.2.0",
    "mountOptions": ["ro", "rro", "ridmap"],
    "linux": {"namespaces": ["mount", "user"], "mountExtensions": {"idmap": {"enabled": True}}},
}
RUNC_1_4 = {**RUNC_1_2, "linux": {**RUNC_1_2["linux"], "netDevices": {"enabled": True}}}


def features(document: object) -> RuntimeFeatures:
    return parse_features(json.dumps(document).encode())


def test_releases_of_runc():
    assert features(RUNC_1_1) == RuntimeFeatures(recursive_read_only=True, id_mapped_mounts=False)
    assert features(RUNC_1_2) == RuntimeFeatures(recursive_read_only=True, id_mapped_mounts=True)
    assert features(RUNC_1_4) == RuntimeFeatures(
        recursive_read_only=True, id_mapped_mounts=True, network_devices=True
    )


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"linux": None},
        {"linux": {"mountExtensions": None}},
        {"linux": {"netDevices": {}}},
        {"linux": {"namespaces": ["user"], "mountExtensions": {"idmap": {}}}},
        {"linux": {"namespaces": ["mount"], "mountExtensions": {"idmap": {"enabled": True}}}},
    ],
)
def test_what_is_not_said_is_missing(document: object):
    assert features(document) == RuntimeFeatures()


@pytest.mark.parametrize("document", [b"", b"runc: no such command", b"[]", b'{"mountOptions": 1}'])
def test_other_output_is_refused(document: bytes):
    with pytest.raises(msgspec.MsgspecError):
        parse_features(document)


def test_kernel_runtime_and_snapshotter_all_count():
    able = features(RUNC_1_2)
    assert recursive_read_only_mounts(able, HOST)
    assert not recursive_read_only_mounts(able, replace(HOST, kernel=(5, 11)))
    assert not recursive_read_only_mounts(RuntimeFeatures(), HOST)
    assert user_namespaces(able, HOST, snapshots_map_ids=True)
    assert not user_namespaces(able, HOST, snapshots_map_ids=False)
    assert not user_namespaces(able, replace(HOST, kernel=(5, 18)), snapshots_map_ids=True)
    assert not user_namespaces(able, replace(HOST, user_namespaces=False), snapshots_map_ids=True)
    assert not user_namespaces(features(RUNC_1_1), HOST, snapshots_map_ids=True)
