"""What differs between two configurations, and what a running server takes over of it."""

from __future__ import annotations

import pytest

from cri.app.config.changes import ABSENT, applicable, changes
from cri.app.config.load import read
from cri.app.config.render import HIDDEN

SOURCE = "config.toml"


def differences(before: str, after: str) -> list[tuple[str, str, str, bool]]:
    found = changes(read(before, SOURCE), read(after, SOURCE))
    return [(change.key, change.before, change.after, change.needs_restart) for change in found]


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        ("", 'debug.level = "debug"', ("debug.level", '"info"', '"debug"', False)),
        ("", 'pinned_images = ["a"]', ("pinned_images", "[]", '["a"]', False)),
        (
            "",
            'debug.slow_operation_threshold = "1m"',
            ("debug.slow_operation_threshold", '"10s"', '"1m0s"', False),
        ),
        ('root = "/a"', 'root = "/b"', ("root", '"/a"', '"/b"', True)),
        ("", "grpc.max_concurrent_rpcs = 100", ("grpc.max_concurrent_rpcs", "4096", "100", True)),
        (
            "",
            '[containerd.runtimes.kata]\nruntime_type = "io.containerd.kata.v2"',
            ("containerd.runtimes.kata", ABSENT, '{ runtime_type = "io.containerd.kata.v2" }', False),
        ),
        (
            "",
            "[containerd.runtimes.runc.options]\nSystemdCgroup = true",
            ("containerd.runtimes.runc.options.SystemdCgroup", ABSENT, "true", False),
        ),
    ],
)
def test_a_difference_names_key_and_values(before, after, difference):
    assert differences(before, after) == [difference]


def test_the_same_is_no_difference():
    text = '[registry.mirrors."docker.io"]\nendpoint = ["https://mirror"]'
    assert differences(text, text) == []


def test_secrets_are_not_told():
    host = '[registry.configs."registry:5000".auth]\nusername = "me"\npassword = '
    assert differences(host + '"hunter2"', host + '"hunter3"') == [
        ('registry.configs."registry:5000".auth.password', HIDDEN, HIDDEN, False)
    ]
    ((_, _, added, _),) = differences("", host + '"hunter2"')
    assert "hunter2" not in added
    assert 'username = "me"' in added
    ((_, before, after, _),) = differences("", '[registry.headers]\nAuthorization = ["Basic hunter2"]')
    assert (before, after) == (ABSENT, HIDDEN)


def test_what_needs_a_restart_stays_and_the_rest_is_taken_over():
    before = read('root = "/a"\n[containerd]\naddress = "/c1"\ndefault_runtime_name = "runc"', SOURCE)
    text = 'root = "/b"\nsandbox_image = "pause:4"\n[containerd]\naddress = "/c2"\ndiscard_unpacked_layers = true'
    after = applicable(before, read(text, SOURCE))
    assert (after.root, after.containerd.address) == ("/a", "/c1")
    assert after.sandbox_image == "pause:4"
    assert after.containerd.discard_unpacked_layers
    waiting = changes(after, read(text, SOURCE))
    assert [change.key for change in waiting] == ["root", "containerd.address"]
    assert all(change.needs_restart for change in waiting)
