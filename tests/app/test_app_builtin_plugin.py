"""When containerd's own CRI plugin counts as being there."""

import pytest

from api.containerd.introspection import GRPC, Plugin
from cri.app.builtin_plugin import DISABLED, refusal
from cri.app.embedded_layout import DISABLED_PLUGINS
from cri.state.plugin_files import is_loaded


@pytest.mark.parametrize(
    ("plugins", "loaded"),
    [
        ([], False),
        ([Plugin(GRPC, "containers"), Plugin("io.containerd.cri.v1", "images")], False),
        ([Plugin(GRPC, "cri", error="skip plugin")], False),
        ([Plugin(GRPC, "containers"), Plugin(GRPC, "cri")], True),
    ],
)
def test_a_plugin_that_works_counts(plugins: list[Plugin], loaded: bool) -> None:
    assert is_loaded(plugins) is loaded


def test_the_refusal_names_the_socket_the_line_and_the_way_around() -> None:
    text = refusal("/run/containerd/containerd.sock")
    assert "/run/containerd/containerd.sock" in text
    assert f":\n    {DISABLED}\n" in text, (
        "without a second version, which would keep containerd from starting"
    )
    assert "allow_builtin_cri = true" in text


def test_every_name_of_the_plugin_that_the_embedded_containerd_disables_is_in_the_remedy() -> None:
    for name in DISABLED_PLUGINS:
        if "cri" in name:
            assert f'"{name}"' in DISABLED
