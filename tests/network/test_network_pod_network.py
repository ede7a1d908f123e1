from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_plugins import RESULT, ScriptedPlugins, eventually

from cri.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from cri.network.pod_network import PodNetwork, PodRequest, PortMapping
from cri.network.record import from_record, to_record
from cri.network.result import pod_ips

POD = PodRequest("abc", None, "web", "prod", "uid-1", port_mappings=(PortMapping(80, 8080),))
FAIL_ADD = '[ $CNI_COMMAND = ADD ] && { echo \'{"code":7,"msg":"no more addresses"}\'; exit 1; }'
FAIL_DEL = '[ $CNI_COMMAND = DEL ] && [ -e %s ] && { echo \'{"code":5,"msg":"busy"}\'; exit 1; }'


def result(address: str, interface: str = "eth0") -> dict[str, object]:
    return RESULT | {"interfaces": [{"name": interface}], "ips": [{"address": address, "interface": 0}]}


def cached(plugins: ScriptedPlugins) -> list[str]:
    directory = plugins.root / "cache" / "results"
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@contextlib.asynccontextmanager
async def running(network: PodNetwork) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(network.run())
        yield
        task.cancel()


async def test_attach_and_detach_with_what_add_used(plugins: ScriptedPlugins) -> None:
    plugins.plugin("bridge")
    configuration = plugins.network("10-a.conflist", "pods", "bridge", own="first")
    network = PodNetwork(plugins.settings())
    attached = await network.attach(POD)
    assert pod_ips(attached, "ipv4") == ("10.1.2.3", ())
    assert cached(plugins) == ["pods-abc-eth0"]
    environment = plugins.environment("bridge", "ADD")
    assert environment["CNI_CONTAINERID"] == "abc"
    assert "K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=abc" in environment["CNI_ARGS"]

    configuration.unlink()
    plugins.network("10-a.conflist", "changed", "absent-plugin")
    await network.load()
    stored = from_record(json.loads(json.dumps(to_record(attached))))
    await network.detach(POD, stored)
    assert plugins.order() == ["bridge ADD eth0", "bridge DEL eth0"]
    assert plugins.stdin("bridge", "DEL")["name"] == "pods", "DEL uses the configuration that ADD used"
    assert plugins.stdin("bridge", "DEL")["prevResult"] == RESULT
    assert plugins.environment("bridge", "DEL")["CNI_ARGS"] == environment["CNI_ARGS"]
    assert cached(plugins) == []

    await network.detach(POD, None)
    assert len(plugins.order()) == 2, "nothing is known of the sandbox any more, so nothing is called"


async def test_several_networks_each_get_an_interface(plugins: ScriptedPlugins) -> None:
    plugins.plugin("one", result=result("10.1.0.1/24", "eth0"))
    plugins.plugin("two", result={"cniVersion": "0.2.0", "ip4": {"ip": "10.2.0.1/24"}})
    plugins.network("10-a.conflist", "a", "one")
    plugins.network("20-b.conflist", "b", "two", version="0.2.0")
    network = PodNetwork(plugins.settings(max_conf_num=0))
    attached = await network.attach(POD)
    assert [(item.address, item.interface) for item in attached.ips] == [
        ("10.1.0.1", "eth0"),
        ("10.2.0.1", "eth1"),
    ]
    assert pod_ips(attached, "ipv4") == ("10.1.0.1", ()), "only eth0's addresses are the pod's"
    assert sorted(plugins.order()) == ["one ADD eth0", "two ADD eth1"]
    await network.detach(POD, attached)
    assert sorted(plugins.order()[2:]) == ["one DEL eth0", "two DEL eth1"]


@pytest.mark.parametrize(("serially", "most"), [(False, 2), (True, 1)])
async def test_networks_are_attached_together_unless_serially(
    plugins: ScriptedPlugins, serially: bool, most: int
) -> None:
    """Each plugin waits for the other's mark; serially, it gives up and notes that it was alone."""
    for name, other in (("one", "two"), ("two", "one")):
        wait = f"for i in $(seq 20); do [ -e {plugins.root}/{other}-up ] && break; sleep 0.02; done"
        together = f"[ -e {plugins.root}/{other}-up ] && echo met >> {plugins.root}/met"
        plugins.plugin(
            name,
            body=f"touch {plugins.root}/{name}-up; {wait}; {together}; rm {plugins.root}/{name}-up"
            if serially
            else f"touch {plugins.root}/{name}-up; {wait}; {together}",
            result=result("10.1.0.1/24"),
        )
    plugins.network("10-a.conflist", "a", "one")
    plugins.network("20-b.conflist", "b", "two")
    await PodNetwork(plugins.settings(max_conf_num=0, setup_serially=serially)).attach(POD)
    assert (plugins.root / "met").exists() is (most == 2)


async def test_a_failed_add_is_undone_by_detach_without_a_result(plugins: ScriptedPlugins) -> None:
    plugins.plugin("one", result=result("10.1.0.1/24"))
    plugins.plugin("two", body=FAIL_ADD)
    plugins.network("10-a.conflist", "a", "one")
    plugins.network("20-b.conflist", "b", "two")
    network = PodNetwork(plugins.settings(max_conf_num=0))
    with pytest.raises(Unavailable, match="no more addresses"):
        await network.attach(POD)
    assert cached(plugins) == ["a-abc-eth0", "b-abc-eth1"], "both count as added"
    await PodNetwork(plugins.settings()).detach(POD, None)
    assert sorted(plugins.order()[2:]) == ["one DEL eth0", "two DEL eth1"]
    assert cached(plugins) == []


async def test_a_cancelled_or_hanging_add_is_undone_by_detach(plugins: ScriptedPlugins) -> None:
    plugins.plugin("bridge", body="[ $CNI_COMMAND = ADD ] && sleep 60")
    plugins.network("10-a.conflist", "a", "bridge")
    network = PodNetwork(plugins.settings(plugin_timeout_seconds=0.5))
    with pytest.raises(DeadlineExceeded, match="did not finish ADD"):
        await network.attach(POD)
    await network.detach(POD, None)
    other = replace(POD, sandbox_id="def")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(network.attach(other))
        await eventually(lambda: len(plugins.order()) == 3, "the second ADD was not started")
        task.cancel()
    await network.detach(other, None)
    assert plugins.order() == ["bridge ADD eth0", "bridge DEL eth0"] * 2
    assert cached(plugins) == []


async def test_a_failed_del_is_reported_and_tried_again(plugins: ScriptedPlugins) -> None:
    plugins.plugin("one", result=result("10.1.0.1/24"), body=FAIL_DEL % (plugins.root / "fail"))
    plugins.plugin("two", result=result("10.2.0.1/24", "eth1"))
    plugins.network("10-a.conflist", "a", "one")
    plugins.network("20-b.conflist", "b", "two")
    network = PodNetwork(plugins.settings(max_conf_num=0))
    attached = await network.attach(POD)
    (plugins.root / "fail").touch()
    for _ in range(2):
        with pytest.raises(Unavailable, match="'one' failed to DEL: busy"):
            await network.detach(POD, attached)
        assert cached(plugins) == ["a-abc-eth0"], "the other network is done, this one is kept"
    (plugins.root / "fail").unlink()
    await network.detach(POD, None)
    assert cached(plugins) == []


async def test_a_sandbox_of_another_server_is_detached_by_the_present_configuration(
    plugins: ScriptedPlugins,
) -> None:
    plugins.plugin("bridge")
    network = PodNetwork(plugins.settings())
    record = from_record({"Interfaces": {"eth0": {"IPConfigs": [{"IP": "10.1.2.3", "Gateway": ""}]}}})
    with pytest.raises(Unavailable, match="cni plugin not initialized"):
        await network.detach(POD, record)
    plugins.network("10-a.conflist", "pods", "bridge")
    await network.detach(POD, record)
    assert plugins.order() == ["bridge DEL eth0"]
    assert "prevResult" not in plugins.stdin("bridge", "DEL")


async def test_an_address_on_eth0_is_required(plugins: ScriptedPlugins) -> None:
    plugins.plugin("bridge", result={"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}]})
    plugins.network("10-a.conflist", "pods", "bridge")
    network = PodNetwork(plugins.settings())
    with pytest.raises(Unavailable, match=r"gave sandbox abc no address on eth0; check its ipam section"):
        await network.attach(POD)
    await network.detach(POD, None)
    assert plugins.order() == ["bridge ADD eth0", "bridge DEL eth0"]


async def test_bad_requests_run_no_plugin(plugins: ScriptedPlugins) -> None:
    plugins.plugin("bridge")
    plugins.network("10-a.conflist", "pods", "bridge")
    network = PodNetwork(plugins.settings())
    for request in (
        replace(POD, sandbox_id="../../x"),
        replace(POD, sandbox_id=""),
        replace(POD, name="a;b=c"),
        replace(POD, annotations={"kubernetes.io/ingress-bandwidth": "fast"}),
    ):
        with pytest.raises(InvalidArgument):
            await network.attach(request)
    with pytest.raises(InvalidArgument):
        await network.detach(replace(POD, sandbox_id="../../x"), None)
    assert plugins.order() == []
    assert cached(plugins) == []


async def test_without_configuration_attach_says_why(plugins: ScriptedPlugins) -> None:
    network = PodNetwork(plugins.settings())
    assert network.status().reason == "NetworkPluginNotReady", "before anything was read"
    (plugins.conf_dir / "10-a.conflist").write_text("{")
    with pytest.raises(Unavailable, match=r"10-a\.conflist: not valid JSON"):
        await network.attach(POD)


async def test_a_cache_that_cannot_be_written_stops_attach_before_any_plugin(
    plugins: ScriptedPlugins,
) -> None:
    plugins.plugin("bridge")
    plugins.network("10-a.conflist", "pods", "bridge")
    (plugins.root / "cache").write_text("a file")
    with pytest.raises(Unavailable, match="CNI cache"):
        await PodNetwork(plugins.settings()).attach(POD)
    assert plugins.order() == []


async def test_the_status_follows_the_directory(plugins: ScriptedPlugins) -> None:
    network = PodNetwork(plugins.settings())
    async with running(network):
        await eventually(lambda: "no .conf" in network.status().message, "the empty directory was not read")
        assert network.status().reason == "NetworkPluginNotReady"
        plugins.network("10-a.conflist", "pods", "bridge")
        await eventually(lambda: "no program 'bridge'" in network.status().message, "the file was not read")
        plugins.plugin("bridge")
        await eventually(lambda: network.status().ready, "the plugin was not noticed")
        (plugins.conf_dir / "05-bad.conf").write_text("oops")
        await eventually(lambda: "05-bad.conf" in network.status().message, "the bad file is not named")
        assert network.status().ready, "a bad file does not take the network away"
        (plugins.conf_dir / "10-a.conflist").unlink()
        await eventually(lambda: not network.status().ready, "the removal was not noticed")
        assert "05-bad.conf: not valid JSON" in network.status().message


async def test_a_plugins_status_is_asked_from_1_1_on(plugins: ScriptedPlugins) -> None:
    down = plugins.root / "down"
    plugins.plugin(
        "bridge", body=f'[ -e {down} ] && {{ echo \'{{"code":50,"msg":"daemon is down"}}\'; exit 1; }}'
    )
    plugins.network("10-a.conflist", "pods", "bridge", version="1.1.0")
    down.touch()
    network = PodNetwork(plugins.settings())
    await network.load()
    assert not network.status().ready, "nobody has asked the plugin yet"
    async with running(network):
        await eventually(lambda: "daemon is down" in network.status().message, "STATUS was not asked")
        assert "10-a.conflist" in network.status().message
        down.unlink()
        plugins.network("10-a.conflist", "pods", "bridge", version="1.1.0", changed=True)
        await eventually(lambda: network.status().ready, "STATUS was not asked again")
        asked = len(plugins.order())
        for _ in range(5):
            assert network.status().ready
            await asyncio.sleep(0)
        assert len(plugins.order()) == asked, "a fresh answer is used again"


async def test_the_template_is_rendered_and_pod_cidrs_are_offered(plugins: ScriptedPlugins) -> None:
    plugins.plugin("bridge")
    template = plugins.root / "template"
    template.write_text(
        '{"name": "pods", "cniVersion": "1.0.0", "plugins": [{"type": "bridge", "subnet": "{{.PodCIDR}}",'
        ' "capabilities": {"ipRanges": true},'
        ' "routes": [{{range $i, $r := .Routes}}{{if $i}},{{end}}"{{$r}}"{{end}}]}]}'
    )
    network = PodNetwork(plugins.settings(conf_template=template, conf_dir=plugins.root / "new" / "net.d"))
    await network.set_pod_cidrs([])
    assert not network.status().ready
    await network.set_pod_cidrs(["10.5.0.0/24", " fd00:5::/64 "])
    assert network.status().ready
    await network.attach(POD)
    told = plugins.stdin("bridge", "ADD")
    assert (told["subnet"], told["routes"]) == ("10.5.0.0/24", ["0.0.0.0/0", "::/0"])
    assert told["runtimeConfig"] == {"ipRanges": [[{"subnet": "10.5.0.0/24"}], [{"subnet": "fd00:5::/64"}]]}
    await network.set_pod_cidrs(["10.6.0.0/24"])
    rendered = plugins.root / "new" / "net.d" / "10-containerd-net.conflist"
    assert "10.6.0.0/24" in rendered.read_text(), "a node that joined anew gets its new range"


async def test_the_template_gives_way_to_other_configuration(plugins: ScriptedPlugins) -> None:
    plugins.plugin("bridge")
    plugins.network("20-a.conflist", "pods", "bridge")
    template = plugins.root / "template"
    template.write_text("never rendered {{")
    await PodNetwork(plugins.settings(conf_template=template)).set_pod_cidrs(["10.5.0.0/24"])
    assert [path.name for path in plugins.conf_dir.iterdir()] == ["20-a.conflist"]


@pytest.mark.parametrize(
    ("template", "reason"),
    [("{{.Missing}}", "there is no .Missing"), ("{}", "rendered from"), (None, "No such file")],
)
async def test_a_bad_template_is_told(plugins: ScriptedPlugins, template: str | None, reason: str) -> None:
    path = plugins.root / "template"
    if template is not None:
        path.write_text(template)
    network = PodNetwork(plugins.settings(conf_template=path))
    with pytest.raises(FailedPrecondition, match=reason):
        await network.set_pod_cidrs(["10.5.0.0/24"])
    assert list(plugins.conf_dir.iterdir()) == []


@pytest.mark.parametrize("cidr", ["10.5.0.0", "10.5.0.0/33", "x", "10.5.0.0/24/1"])
async def test_a_bad_cidr_is_refused(plugins: ScriptedPlugins, cidr: str) -> None:
    with pytest.raises(InvalidArgument, match="pod_cidr"):
        await PodNetwork(plugins.settings()).set_pod_cidrs([cidr])


async def test_the_description_has_containerds_shape(plugins: ScriptedPlugins) -> None:
    plugins.plugin("bridge")
    plugins.network("10-a.conflist", "pods", {"type": "bridge", "ipam": {"type": "host-local"}})
    network = PodNetwork(plugins.settings())
    await network.load()
    described = json.loads(json.dumps(network.describe()))
    assert described["PluginDirs"] == [str(plugins.bin_dir)]
    assert described["PluginMaxConfNum"] == 1
    (only,) = described["Networks"]
    assert only["IFName"] == "eth0"
    assert only["Config"]["Name"] == "pods"
    assert only["Config"]["Plugins"][0]["Network"] == {
        "type": "bridge",
        "ipam": {"type": "host-local"},
        "dns": {},
    }


async def test_the_version_is_one_that_the_plugins_speak(plugins: ScriptedPlugins) -> None:
    says = '[ $CNI_COMMAND = VERSION ] && { echo \'{"supportedVersions":["0.3.1","0.4.0","1.0.0"]}\'; exit; }'
    plugins.plugin("bridge", body=says)
    plugins.plugin("silent", body="[ $CNI_COMMAND = VERSION ] && exit 1")
    plugins.network("10-a.conflist", "pods", "bridge", "silent", cniVersions=["0.4.0", "1.0.0", "1.1.0"])
    network = PodNetwork(plugins.settings())
    for _ in range(3):
        await network.load()
    assert sorted(plugins.order()) == ["bridge VERSION dummy", "silent VERSION dummy"], "each is asked once"
    attached = await network.attach(POD)
    assert plugins.stdin("bridge", "ADD")["cniVersion"] == "1.0.0"
    await network.detach(POD, attached)
    assert plugins.stdin("bridge", "DEL")["cniVersion"] == "1.0.0", "DEL speaks what ADD spoke"

    plugins.plugin("bridge", body=says.replace("1.0.0", "7.0.0") + "\n# another program")
    await network.load()
    attached = await network.attach(POD)
    assert plugins.stdin("bridge", "ADD")["cniVersion"] == "0.4.0", (
        "a program that was replaced is asked again"
    )
    (plugins.bin_dir / "bridge").unlink()
    plugins.plugin("bridge", body=says)
    await network.load()
    await network.detach(POD, attached)
    assert plugins.stdin("bridge", "DEL")["cniVersion"] == "0.4.0", "DEL speaks what ADD spoke"


async def test_debians_plugins_get_the_version_that_they_speak(plugins: ScriptedPlugins) -> None:
    plugins.network(
        "10-a.conflist", "pods", "bridge", "portmap", version="0.4.0", cniVersions=["1.0.0", "1.1.0"]
    )
    network = PodNetwork(plugins.settings(bin_dirs=(Path("/usr/lib/cni"),)))
    await network.load()
    described = json.loads(json.dumps(network.describe()))
    assert described["Networks"][0]["Config"]["CNIVersion"] == "1.0.0"
    assert network.status().ready
