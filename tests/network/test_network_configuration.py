from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.network.configuration import VERSIONS, NetworkList, parse_file, parse_stored
from cri.network.errors import ConfigurationError

LIST = Path("/etc/cni/net.d/10-pods.conflist")
SINGLE = Path("/etc/cni/net.d/10-pods.conf")


def parsed(document: object, path: Path = LIST) -> NetworkList:
    return parse_file(path, json.dumps(document).encode())


def test_a_list_keeps_unknown_keys_and_order() -> None:
    network = parsed(
        {
            "name": "pods",
            "cniVersion": "1.0.0",
            "disableCheck": "TRUE",
            "plugins": [
                {"type": "bridge", "strange": {"kept": [1, 2]}},
                {"type": "portmap", "capabilities": {"portMappings": True, "bandwidth": False}},
            ],
        }
    )
    assert [plugin.type for plugin in network.plugins] == ["bridge", "portmap"]
    assert network.plugins[0].document["strange"] == {"kept": [1, 2]}
    assert network.plugins[1].capabilities == {"portMappings"}, "a capability set to false is not wanted"
    assert network.disable_check, "libcni takes the string form, too"


def test_a_single_plugin_becomes_a_list_of_one_that_can_be_stored() -> None:
    network = parsed({"name": "pods", "type": "bridge", "bridge": "cni0"}, SINGLE)
    assert network.cni_version == "0.1.0", "no cniVersion means the oldest"
    stored = parse_stored(network.config, "the cache")
    assert (stored.name, stored.plugins) == (network.name, network.plugins)


@pytest.mark.parametrize(
    ("single", "several", "chosen"),
    [
        (None, None, "0.1.0"),
        ("0.4.0", None, "0.4.0"),
        ("0.4.0", ["0.3.1", "1.0.0"], "1.0.0"),
        ("1.0.0", ["0.3.1", "7.0.0"], "1.0.0"),
        (None, ["1.1.0", "1.0.0"], "1.1.0"),
    ],
)
def test_the_highest_known_version_is_spoken(
    single: str | None, several: list[str] | None, chosen: str
) -> None:
    document: dict[str, object] = {"name": "pods", "plugins": [{"type": "bridge"}]}
    document |= {} if single is None else {"cniVersion": single}
    document |= {} if several is None else {"cniVersions": several}
    assert parsed(document).cni_version == chosen


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "an array"),
        ({"plugins": [{"type": "bridge"}]}, "'name' is missing"),
        ({"name": 3, "plugins": [{"type": "bridge"}]}, "'name' must be a string"),
        ({"name": "../x", "plugins": [{"type": "bridge"}]}, "'../x'"),
        ({"name": "a\n", "plugins": [{"type": "bridge"}]}, "'name' is"),
        ({"name": "n" * 200, "plugins": [{"type": "bridge"}]}, "200 characters"),
        ({"name": "pods"}, "'plugins'"),
        ({"name": "pods", "plugins": []}, "'plugins'"),
        ({"name": "pods", "type": "bridge"}, "belongs in a .conf file"),
        ({"name": "pods", "plugins": ["bridge"]}, "plugins[0] must be an object"),
        ({"name": "pods", "plugins": [{"type": "bridge"}, {}]}, "'plugins[1].type' is missing"),
        ({"name": "pods", "plugins": [{"type": "../../bin/sh"}]}, "plain file name"),
        ({"name": "pods", "plugins": [{"type": ".."}]}, "plain file name"),
        ({"name": "pods", "plugins": [{"type": "a", "capabilities": []}]}, "plugins[0].capabilities"),
        ({"name": "pods", "plugins": [{"type": "a", "capabilities": {"x": 1}}]}, "capabilities.x"),
        ({"name": "pods", "cniVersion": "2.0.0", "plugins": [{"type": "a"}]}, "'2.0.0' is not known"),
        ({"name": "pods", "cniVersion": 1, "plugins": [{"type": "a"}]}, "'cniVersion' must be a string"),
        ({"name": "pods", "cniVersions": ["9.0.0"], "plugins": [{"type": "a"}]}, "none of its 'cniVersions'"),
        ({"name": "pods", "cniVersions": "1.0.0", "plugins": [{"type": "a"}]}, "array of strings"),
        ({"name": "pods", "disableGC": "maybe", "plugins": [{"type": "a"}]}, "'disableGC'"),
    ],
)
def test_mistakes_name_the_file_and_the_reason(document: object, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parsed(document)
    assert caught.value.message.startswith(f"{LIST}: "), caught.value.message
    assert reason in caught.value.message


def test_a_list_in_a_single_file_is_refused_with_advice() -> None:
    with pytest.raises(ConfigurationError, match=r"belongs in a \.conflist"):
        parsed({"name": "pods", "plugins": [{"type": "bridge"}]}, SINGLE)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"null", b'{"name": NaN}', b"\xff\xfe", b'{"name": "\\ud800"}', b"[" * 100_000]
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigurationError):
        parse_file(LIST, data)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
plugin_like = st.fixed_dictionaries(
    {}, optional={"type": documents, "capabilities": documents, "ipam": documents, "name": documents}
)
list_like = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("pods") | documents,
        "cniVersion": st.sampled_from(VERSIONS) | documents,
        "cniVersions": st.lists(st.sampled_from(VERSIONS) | documents) | documents,
        "plugins": st.lists(plugin_like | documents, max_size=3) | documents,
        "type": documents,
        "disableCheck": documents,
        "disableGC": documents,
    },
)


@given(list_like | documents, st.sampled_from([LIST, SINGLE]))
def test_any_document_is_a_network_or_a_configuration_error(document: object, path: Path) -> None:
    try:
        network = parsed(document, path)
    except ConfigurationError:
        return
    assert network.plugins, "a network has plugins"
    assert all("/" not in plugin.type for plugin in network.plugins)
    assert parse_stored(network.config, "again").plugins == network.plugins


@given(st.binary(max_size=200), st.sampled_from([LIST, SINGLE]))
def test_any_bytes_are_a_network_or_a_configuration_error(data: bytes, path: Path) -> None:
    try:
        parse_file(path, data)
    except ConfigurationError:
        pass
