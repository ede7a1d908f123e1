from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from scripted_plugins import RESULT

from cri.network.attachment import Attachment
from cri.network.configuration import parse_file
from cri.network.errors import PluginFailed
from cri.network.invocation import PluginInvoker
from cri.network.list_execution import ListExecution

if TYPE_CHECKING:
    from scripted_plugins import ScriptedPlugins


def execution(
    plugins: ScriptedPlugins, *listed: object, version: str = "1.0.0", **more: object
) -> ListExecution:
    path = plugins.network("10-pods.conflist", "pods", *listed, version=version, **more)
    return ListExecution(parse_file(path, path.read_bytes()), PluginInvoker(plugins.settings(), None))


ATTACHMENT = Attachment("pods", "abc", "eth0", b"", "/ns", capabilities={"portMappings": [1], "dns": {}})


async def test_add_chains_results_and_del_goes_backwards(plugins: ScriptedPlugins) -> None:
    final = RESULT | {"routes": []}
    plugins.plugin("first", result=RESULT)
    plugins.plugin("second", result=final)
    run = execution(plugins, "first", {"type": "second", "own": 1, "capabilities": {"portMappings": True}})
    result = await run.add(ATTACHMENT)
    assert result == final, "the last plugin's result is the list's"
    assert plugins.stdin("first", "ADD") == {"type": "first", "name": "pods", "cniVersion": "1.0.0"}
    assert plugins.stdin("second", "ADD") == {
        "type": "second",
        "own": 1,
        "capabilities": {"portMappings": True},
        "name": "pods",
        "cniVersion": "1.0.0",
        "prevResult": RESULT,
        "runtimeConfig": {"portMappings": [1]},
    }
    await run.delete(replace(ATTACHMENT, result=result), "")
    assert plugins.order() == ["first ADD eth0", "second ADD eth0", "second DEL eth0", "first DEL eth0"]
    assert plugins.stdin("first", "DEL")["prevResult"] == final, "DEL gets ADD's final result"
    assert plugins.environment("first", "DEL")["CNI_NETNS"] == ""
    assert plugins.environment("first", "ADD")["CNI_NETNS"] == "/ns"


async def test_add_stops_at_the_first_failure(plugins: ScriptedPlugins) -> None:
    plugins.plugin("first", body='echo \'{"code":7,"msg":"bad subnet"}\'; exit 1')
    plugins.plugin("second")
    with pytest.raises(PluginFailed, match="bad subnet"):
        await execution(plugins, "first", "second").add(ATTACHMENT)
    assert plugins.order() == ["first ADD eth0"]


async def test_a_result_of_another_version_is_translated_for_the_next_plugin(
    plugins: ScriptedPlugins,
) -> None:
    plugins.plugin("old", result={"cniVersion": "0.2.0", "ip4": {"ip": "10.1.2.3/24"}})
    plugins.plugin("new")
    await execution(plugins, "old", "new").add(ATTACHMENT)
    assert plugins.stdin("new", "ADD")["prevResult"] == {
        "cniVersion": "1.0.0",
        "interfaces": [],
        "ips": [{"address": "10.1.2.3/24"}],
        "routes": [],
    }


async def test_a_result_without_version_has_that_of_the_list(plugins: ScriptedPlugins) -> None:
    plugins.plugin("plugin", result={"ips": [{"version": "4", "address": "10.1.2.3/24"}], "extra": 1})
    result = await execution(plugins, "plugin", version="0.4.0").add(ATTACHMENT)
    assert result == {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.1.2.3/24"}], "extra": 1}


@pytest.mark.parametrize("printed", ["", "[]", "garbage", '{"ips": 3}', '{"cniVersion": "8.0.0"}'])
async def test_an_unusable_result_is_the_plugins_failure(plugins: ScriptedPlugins, printed: str) -> None:
    plugins.plugin("plugin", body=f"[ $CNI_COMMAND = ADD ] && {{ printf '%s' '{printed}'; exit 0; }}")
    with pytest.raises(PluginFailed, match="'plugin' failed to ADD: its result is unusable"):
        await execution(plugins, "plugin").add(ATTACHMENT)


@pytest.mark.parametrize(("version", "given"), [("0.3.1", False), ("0.4.0", True), ("1.1.0", True)])
async def test_the_previous_result_on_del_depends_on_the_version(
    plugins: ScriptedPlugins, version: str, given: bool
) -> None:
    plugins.plugin("plugin")
    await execution(plugins, "plugin", version=version).delete(replace(ATTACHMENT, result=RESULT), "/ns")
    assert ("prevResult" in plugins.stdin("plugin", "DEL")) is given


async def test_del_without_or_with_a_damaged_result(plugins: ScriptedPlugins) -> None:
    plugins.plugin("plugin")
    run = execution(plugins, "plugin")
    for result in (None, {"ips": "damaged"}):
        await run.delete(replace(ATTACHMENT, result=result), "/ns")
        assert "prevResult" not in plugins.stdin("plugin", "DEL")


async def test_del_keeps_the_address_while_a_later_plugin_fails(plugins: ScriptedPlugins) -> None:
    plugins.plugin("address")
    plugins.plugin("mapping", body='echo \'{"code":5,"msg":"iptables is locked"}\'; exit 1')
    with pytest.raises(PluginFailed, match="iptables is locked"):
        await execution(plugins, "address", "mapping").delete(ATTACHMENT, "/ns")
    assert plugins.order() == ["mapping DEL eth0"]


@pytest.mark.parametrize(
    ("document", "namespace", "excused"),
    [
        ('{"code":3,"msg":"who?"}', "/ns", True),
        ('{"code":100,"msg":"Link not found"}', "/ns", True),
        ('{"msg":"open /ns: no such file or directory"}', "", True),
        ('{"msg":"open /ns: no such file or directory"}', "/ns", False),
        ('{"msg":"exec: \\"iptables\\": executable file not found in $PATH"}', "/ns", False),
        ("not found", "/ns", False),
    ],
)
async def test_del_excuses_what_is_gone_already(
    plugins: ScriptedPlugins, document: str, namespace: str, excused: bool
) -> None:
    plugins.plugin("first")
    plugins.plugin("last", body=f"echo '{document}'; exit 1")
    run = execution(plugins, "first", "last")
    if excused:
        await run.delete(ATTACHMENT, namespace)
        assert plugins.order() == ["last DEL eth0", "first DEL eth0"], "the rest of the list is still undone"
    else:
        with pytest.raises(PluginFailed):
            await run.delete(ATTACHMENT, namespace)


@pytest.mark.parametrize(
    ("version", "more", "calls"),
    [("0.3.1", {}, 0), ("0.4.0", {}, 2), ("1.0.0", {"disableCheck": True}, 0), ("1.1.0", {}, 2)],
)
async def test_check(plugins: ScriptedPlugins, version: str, more: dict[str, object], calls: int) -> None:
    plugins.plugin("a")
    plugins.plugin("b")
    await execution(plugins, "a", "b", version=version, **more).check(replace(ATTACHMENT, result=RESULT))
    assert plugins.order() == ["a CHECK eth0", "b CHECK eth0"][:calls]


async def test_status_is_asked_from_1_1_on_and_stops_at_a_no(plugins: ScriptedPlugins) -> None:
    plugins.plugin("a", body='echo \'{"code":50,"msg":"daemon is down"}\'; exit 1')
    plugins.plugin("b")
    await execution(plugins, "a", "b").status(5)
    assert plugins.order() == []
    with pytest.raises(PluginFailed, match="daemon is down") as caught:
        await execution(plugins, "a", "b", version="1.1.0").status(5)
    assert caught.value.code == 50
    assert plugins.order() == ["a STATUS"]


async def test_garbage_collection_goes_on_after_a_failure(plugins: ScriptedPlugins) -> None:
    plugins.plugin("a", body="exit 1")
    plugins.plugin("b")
    valid = [("abc", "eth0")]
    assert await execution(plugins, "a", "b").collect_garbage(valid) == [], "GC does not exist before 1.1.0"
    assert await execution(plugins, "a", "b", version="1.1.0", disableGC=True).collect_garbage(valid) == []
    errors = await execution(plugins, "a", "b", version="1.1.0").collect_garbage(valid)
    assert plugins.order() == ["a GC", "b GC"]
    assert len(errors) == 1
    told = plugins.stdin("b", "GC", "")
    assert told["cni.dev/valid-attachments"] == [{"containerID": "abc", "ifname": "eth0"}]
