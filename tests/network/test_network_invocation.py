from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scripted_plugins import eventually

from cri.network.errors import PluginFailed, PluginTimedOut
from cri.network.invocation import OUTPUT_LIMIT, Parameters, PluginInvoker

if TYPE_CHECKING:
    from scripted_plugins import ScriptedPlugins

PARAMETERS = Parameters("abc", "/run/netns/x", "eth0", (("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web")))


def script(plugins: ScriptedPlugins, body: str, name: str = "plugin") -> Path:
    path = plugins.bin_dir / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


async def call(plugins: ScriptedPlugins, verb: str = "ADD", **settings: object) -> bytes:
    return await PluginInvoker(plugins.settings(**settings), None).call(
        "plugin", verb, PARAMETERS, {"name": "pods"}
    )


async def test_parameters_and_configuration_reach_the_plugin(
    plugins: ScriptedPlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("CNI_ARGS", "ours must win")
    script(plugins, "env; cat")
    lines = (await call(plugins, bin_dirs=(plugins.root / "absent", plugins.bin_dir))).decode().splitlines()
    assert lines[-1] == '{"name":"pods"}'
    for line in (
        "CNI_COMMAND=ADD",
        "CNI_CONTAINERID=abc",
        "CNI_NETNS=/run/netns/x",
        "CNI_IFNAME=eth0",
        "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=web",
        f"CNI_PATH={plugins.root / 'absent'}:{plugins.bin_dir}",
        "HTTPS_PROXY=http://proxy",
    ):
        assert line in lines, f"{line} is missing in {lines}"
    assert not any(line.startswith("NOTIFY_SOCKET") for line in lines), (
        "a plugin must not notify our supervisor"
    )


async def test_an_error_document_is_understood(plugins: ScriptedPlugins) -> None:
    script(
        plugins,
        """echo '{"cniVersion":"1.0.0","code":11,"msg":"pool is busy","details":"try soon"}'; exit 1""",
    )
    with pytest.raises(PluginFailed) as caught:
        await call(plugins)
    error = caught.value
    assert (error.code, error.text, error.details) == (11, "pool is busy", "try soon")
    assert error.message == "CNI plugin 'plugin' failed to ADD: pool is busy; try soon (code 11)"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo oops >&2; exit 3", "status 3 and without an error document; it printed 'oops'"),
        ("echo 'no json'; exit 1", "it printed 'no json'"),
        ("exit 7", "ended with status 7"),
        ("kill -SEGV $$", "killed by signal 11"),
        ("printf '\\377\\376'; exit 1", "status 1"),
        (f"head -c {OUTPUT_LIMIT + 10} /dev/zero", "more than"),
        ('echo \'{"code": "x", "msg": "odd code"}\'; exit 1', "odd code (code 0)"),
    ],
)
async def test_every_way_to_fail_is_told(plugins: ScriptedPlugins, body: str, reason: str) -> None:
    script(plugins, body)
    with pytest.raises(PluginFailed) as caught:
        await call(plugins)
    assert reason in caught.value.message


async def test_a_plugin_that_ignores_its_input_is_fine(plugins: ScriptedPlugins) -> None:
    script(plugins, "exec <&-; echo fine")
    assert await call(plugins) == b"fine\n"


async def test_a_missing_program_names_the_directories(plugins: ScriptedPlugins) -> None:
    (plugins.bin_dir / "plugin").mkdir()
    with pytest.raises(PluginFailed, match=f"no program 'plugin' in {plugins.bin_dir}"):
        await call(plugins)


async def test_a_program_that_cannot_be_run(plugins: ScriptedPlugins) -> None:
    path = plugins.bin_dir / "plugin"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    with pytest.raises(PluginFailed, match="cannot be run: Exec format error"):
        await call(plugins)


async def test_a_program_that_is_being_replaced_is_waited_for(plugins: ScriptedPlugins) -> None:
    path = plugins.bin_dir / "plugin"
    path.write_bytes(Path("/bin/true").read_bytes())
    path.chmod(0o755)
    writer = os.open(path, os.O_WRONLY)
    asyncio.get_running_loop().call_later(0.05, os.close, writer)
    assert await call(plugins) == b""


HANG = """trap '' TERM
echo $$ > {root}/pid
sh -c 'trap "" TERM; echo $$ > {root}/child; while :; do sleep 5; done' &
wait
"""


async def assert_gone(plugins: ScriptedPlugins) -> None:
    for name in ("pid", "child"):
        process = Path("/proc") / (plugins.root / name).read_text().strip()
        await eventually(
            lambda process=process: not process.exists(), f"the plugin's process {name} lives on"
        )


async def test_a_hanging_plugin_is_killed_with_its_children(plugins: ScriptedPlugins) -> None:
    script(plugins, HANG.format(root=plugins.root))
    with pytest.raises(PluginTimedOut, match=r"did not finish ADD within 0\.3 s"):
        await call(plugins, plugin_timeout_seconds=0.3)
    await assert_gone(plugins)


async def test_a_cancelled_call_leaves_no_process(plugins: ScriptedPlugins) -> None:
    script(plugins, HANG.format(root=plugins.root))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(call(plugins))
        child = plugins.root / "child"
        await eventually(lambda: child.exists() and child.read_text() != "", "the plugin did not start")
        task.cancel()
    assert task.cancelled()
    await assert_gone(plugins)


async def test_a_cancelled_del_ends_by_itself(plugins: ScriptedPlugins) -> None:
    """Cut off half-way, bridge has removed the interface that tells a second DEL which rules it has to remove."""
    begun, ended = plugins.root / "begun", plugins.root / "ended"
    script(plugins, f"touch {begun}; sleep 0.3; touch {ended}")
    invoker = PluginInvoker(plugins.settings(), None)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(invoker.call("plugin", "DEL", PARAMETERS, {}))
        await eventually(begun.exists, "the plugin did not start")
        task.cancel()
    assert task.cancelled()
    assert ended.exists(), "the plugin was killed in the middle of its DEL"


async def test_calls_are_observed(plugins: ScriptedPlugins) -> None:
    seen: list[tuple[str, str, float, bool]] = []
    invoker = PluginInvoker(plugins.settings(), lambda *call: seen.append(call))
    script(plugins, '[ "$CNI_COMMAND" = ADD ]')
    await invoker.call("plugin", "ADD", PARAMETERS, {})
    with pytest.raises(PluginFailed):
        await invoker.call("plugin", "DEL", PARAMETERS, {})
    assert [(plugin, verb, ok) for plugin, verb, _, ok in seen] == [
        ("plugin", "ADD", True),
        ("plugin", "DEL", False),
    ]
    assert all(seconds > 0 for _, _, seconds, _ in seen)


async def test_hanging_adds_do_not_hold_up_a_del(
    plugins: ScriptedPlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cri.network.invocation.CONCURRENT_CALLS", 2)
    invoker = PluginInvoker(plugins.settings(), None)
    script(
        plugins,
        'if [ "$CNI_COMMAND" = ADD ]; then echo x >> ' + str(plugins.root / "begun") + "; sleep 60; fi",
    )
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        adds = [group.create_task(invoker.call("plugin", "ADD", PARAMETERS, {})) for _ in range(4)]
        begun = plugins.root / "begun"
        await eventually(lambda: begun.exists() and len(begun.read_text()) >= 4, "two ADDs did not start")
        await invoker.call("plugin", "DEL", PARAMETERS, {})
        assert begun.read_text() == "x\nx\n", "two ADDs run, the others wait for their turn"
        for add in adds:
            add.cancel()
    assert time.monotonic() - began < 20
