"""What a plugin answers is told, and never taken for a path, a namespace to enter or a name to act on."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_plugins import RESULT, ScriptedPlugins

from cri.errors import CriError
from cri.network.pod_network import PodNetwork, PodRequest
from tests.services.written_paths import written_paths

POD = PodRequest("abc", None, "web", "prod", "uid-1")
HOSTILE = ["../../../etc/passwd", "/proc/1/ns/net", "a\nb", "a\x1b[31m", "x" * 100_000, "", "eth0\0"]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
async def test_names_and_places_of_a_result_lead_nowhere(plugins: ScriptedPlugins, text: str) -> None:
    other = {"name": text, "mac": text, "sandbox": text}
    answer = RESULT | {"interfaces": [{"name": "eth0", "sandbox": text}, other], "dns": {"domain": text}}
    plugins.plugin("bridge", result=answer)
    plugins.network("10-a.conflist", "pods", "bridge")
    network = PodNetwork(plugins.settings())
    with written_paths() as written:
        try:
            attached = await network.attach(POD)
        except CriError:  # a name that no interface can have may be refused as well
            attached = None
        await network.detach(POD, attached)
    assert plugins.environment("bridge", "DEL").get("CNI_NETNS", "") == "", (
        "the pod has none, whatever a plugin says"
    )
    inside = (plugins.root, Path("/dev"), Path("/proc"))
    assert not [path for path in written if not any(path.is_relative_to(place) for place in inside)]


@pytest.mark.parametrize(
    "change",
    [
        {"interfaces": [{"name": "eth0"}], "ips": [{"address": "../../x", "interface": 0}]},
        {"interfaces": [{"name": "eth0"}], "ips": [{"address": "10.0.0.1/24", "interface": 99}]},
        {"interfaces": [{"name": "eth0"}], "ips": [{"address": "10.0.0.1/24", "interface": -1}]},
        {"interfaces": {"name": "eth0"}},
        {"ips": "10.0.0.1/24"},
        {"cniVersion": "../1.0.0"},
        {"dns": ["x"]},
    ],
    ids=str,
)
async def test_a_result_that_is_none_is_refused_and_can_be_undone(
    plugins: ScriptedPlugins, change: dict[str, object]
) -> None:
    plugins.plugin("bridge", result=RESULT | change)
    plugins.network("10-a.conflist", "pods", "bridge")
    network = PodNetwork(plugins.settings())
    with pytest.raises(CriError, match="bridge"):
        await network.attach(POD)
    await network.detach(POD, None)
    assert plugins.order() == ["bridge ADD eth0", "bridge DEL eth0"]
