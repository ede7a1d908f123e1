from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from scripted_plugins import ScriptedPlugins, eventually

from cri.errors import Unavailable
from cri.network.cache import AttachmentCache
from cri.network.gate import Gate
from cri.network.pod_network import PodNetwork, PodRequest

POD = PodRequest("abc", None, "web", "prod", "uid-1")


async def attached(plugins: ScriptedPlugins, version: str, *sandbox_ids: str) -> PodNetwork:
    plugins.network("10-a.conflist", "pods", "bridge", version=version)
    network = PodNetwork(plugins.settings())
    for sandbox_id in sandbox_ids:
        await network.attach(replace(POD, sandbox_id=sandbox_id))
    return network


async def test_attachments_of_vanished_sandboxes_are_released(plugins: ScriptedPlugins) -> None:
    plugins.plugin("bridge")
    network = await attached(plugins, "1.0.0", "known", "gone")
    cache = AttachmentCache(plugins.root / "cache")
    foreign = replace(
        cache.of_sandbox("gone")[0], container_id="nerdctl", arguments=(("IgnoreUnknown", "1"),)
    )
    cache.store([foreign])
    (stale,) = await network.stale_attachments(lambda: {"known"})
    assert stale.container_id == "gone"
    assert await network.collect_garbage(lambda: {"known"}) == []
    assert plugins.order()[2:] == ["bridge DEL eth0"], "1.0.0 has no GC"
    assert {item.container_id for item in cache.all()} == {"known", "nerdctl"}, (
        "others' attachments are left alone"
    )


async def test_plugins_with_gc_are_told_what_to_spare(plugins: ScriptedPlugins) -> None:
    plugins.plugin("bridge")
    network = await attached(plugins, "1.1.0", "cached", "gone")
    assert await network.collect_garbage(lambda: {"cached", "uncached"}) == []
    assert plugins.order()[2:] == ["bridge DEL eth0", "bridge GC"]
    assert plugins.stdin("bridge", "GC", "")["cni.dev/valid-attachments"] == [
        {"containerID": "cached", "ifname": "eth0"},
        {"containerID": "uncached", "ifname": "eth0"},
    ]


async def test_a_release_that_fails_is_returned_and_spared_from_gc_only_if_known(
    plugins: ScriptedPlugins,
) -> None:
    plugins.plugin("bridge", body="[ $CNI_COMMAND = DEL ] && exit 1")
    network = await attached(plugins, "1.1.0", "gone")
    (error,) = await network.collect_garbage(set)
    assert "'bridge' failed to DEL" in error.message
    assert plugins.stdin("bridge", "GC", "")["cni.dev/valid-attachments"] == []
    assert [item.container_id for item in await network.stale_attachments(set)] == ["gone"], (
        "it will be tried again"
    )


async def test_gc_waits_for_pods_and_pods_wait_for_gc(plugins: ScriptedPlugins) -> None:
    plugins.plugin("bridge", body=f"while [ -e {plugins.root}/hold-$CNI_COMMAND ]; do sleep 0.02; done")
    network = await attached(plugins, "1.1.0", "first")
    for verb in ("ADD", "GC"):
        (plugins.root / f"hold-{verb}").touch()
    async with asyncio.TaskGroup() as group:
        group.create_task(network.attach(replace(POD, sandbox_id="second")))
        await eventually(lambda: len(plugins.order()) == 2, "the second ADD did not begin")
        collecting = group.create_task(network.collect_garbage(lambda: {"first", "second", "third"}))
        await asyncio.sleep(0.1)
        assert len(plugins.order()) == 2, "GC waits for the ADD"
        (plugins.root / "hold-ADD").unlink()
        await eventually(lambda: plugins.order()[-1] == "bridge GC", "GC did not begin")
        third = group.create_task(network.attach(replace(POD, sandbox_id="third")))
        await asyncio.sleep(0.1)
        assert len(plugins.order()) == 3, "the third ADD waits for GC"
        (plugins.root / "hold-GC").unlink()
        await third
        assert collecting.result() == []


async def test_the_gate_is_not_held_up_for_long() -> None:
    gate = Gate()
    async with gate.together():
        with pytest.raises(Unavailable, match="has to wait"):
            async with gate.alone(0.01):
                pytest.fail("somebody is inside")
        async with gate.together():
            pass
    async with gate.alone(1):
        with pytest.raises(Unavailable, match="already under way"):
            async with gate.alone(1):
                pytest.fail("somebody is inside")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), gate.together():
                pytest.fail("somebody is alone inside")
    async with gate.alone(1):
        pass
