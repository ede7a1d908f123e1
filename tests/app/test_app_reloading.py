"""A running server takes over a changed configuration, all of it or nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.wire import criv1
from cri.app.commands import run
from cri.app.signals import signals_heard
from e2e.harness.eventually import eventually
from tests.app.served import Served, configuration_text, served
from tests.double import ContainerdDouble
from tests.double.containerd import until

CONFLIST = {
    "cniVersion": "1.0.0",
    "name": "other",
    "plugins": [{"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}}],
}


@pytest_asyncio.fixture
async def server(containerd: ContainerdDouble, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(containerd, tmp_path) as running:
        yield running


@pytest.fixture
def rewrite(server: Served, containerd: ContainerdDouble, tmp_path: Path):
    def write(more: str) -> None:
        server.configuration_file.write_text(configuration_text(containerd, tmp_path, more))

    return write


async def cri_shim(*arguments: str) -> int:
    return await asyncio.to_thread(run, arguments)


async def reload(server: Served) -> int:
    return await cri_shim("reload", "--state", str(server.state))


async def info(server: Served) -> dict[str, dict[str, object]]:
    answer = await server.cri.runtime.Status(criv1.StatusRequest(verbose=True))
    found: dict[str, dict[str, object]] = json.loads(answer.info["config"])
    return found


async def network_message(server: Served) -> str:
    answer = await server.cri.runtime.Status(criv1.StatusRequest())
    (condition,) = [each for each in answer.status.conditions if each.type == "NetworkReady"]
    return str(condition.message)


async def test_every_changed_key_is_told_and_in_effect(server: Served, rewrite, capsys):
    rewrite(
        'sandbox_image = "example.org/pause:4"\ngrpc.mode = "0660"\n'
        '[containerd.runtimes.second]\nruntime_type = "io.containerd.runc.v2"\n'
    )
    assert await reload(server) == 0
    told = capsys.readouterr().out
    assert 'sandbox_image: "registry.k8s.io/pause:3.10" -> "example.org/pause:4"\n' in told
    assert "containerd.runtimes.second: (absent) -> {}" in told
    assert 'grpc.mode: "0600" -> "0660"  (needs a restart)\n' in told
    shown = await info(server)
    assert shown["sandboxImage"] == "example.org/pause:4"
    assert "second" in shown["containerd"]["runtimes"]
    status = await server.cri.runtime.Status(criv1.StatusRequest())
    assert {handler.name for handler in status.runtime_handlers} >= {"runc", "second"}


async def test_show_running_tells_what_is_in_effect(server: Served, rewrite, capsys):
    rewrite('pinned_images = ["kept*"]\ngrpc.mode = "0660"\n')
    file = str(server.configuration_file)
    await cri_shim("config", "show", "--running", file)
    assert "pinned_images = []" in capsys.readouterr().out
    assert await reload(server) == 0
    capsys.readouterr()
    await cri_shim("config", "show", "--running", file)
    shown = capsys.readouterr().out
    assert 'pinned_images = ["kept*"]' in shown
    assert 'mode = "0600"' in shown, "what needs a restart is not in effect"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ('sandbox_image = "good:1"\nmax_concurrent_downloads = 0', "max_concurrent_downloads"),
        ('sandbox_image = "good:1"\nsandbox_imagee = "x"', 'did you mean "sandbox_image"'),
        ("sandbox_image = ", "not TOML"),
        (
            'sandbox_image = "good:1"\n[containerd.runtimes.bad]\nbase_runtime_spec = "/dev/null"',
            "base_runtime_spec",
        ),
        (
            'sandbox_image = "good:1"\n[containerd.runtimes.bad]\nplatform = "a/b/c/d"',
            "a/b/c/d",
        ),
    ],
)
async def test_a_fault_anywhere_refuses_everything(server: Served, rewrite, capsys, more, reason):
    before = await info(server)
    rewrite(more)
    assert await reload(server) == 1
    assert reason in capsys.readouterr().err
    assert await info(server) == before


async def test_a_file_that_is_gone_changes_nothing(server: Served, capsys):
    server.configuration_file.unlink()
    assert await reload(server) == 1
    assert "no such file" in capsys.readouterr().err


async def test_the_same_file_is_no_change(server: Served, capsys):
    assert await reload(server) == 0
    assert capsys.readouterr().out.endswith("nothing is different\n")


async def test_another_cni_directory_is_read_and_watched(server: Served, rewrite, tmp_path: Path):
    other = tmp_path / "cni-other"
    other.mkdir()
    rewrite(f"[containerd.runtimes.runc]\ncni_conf_dir = {json.dumps(str(tmp_path / 'cni-runc'))}\n")
    text = server.configuration_file.read_text()
    server.configuration_file.write_text(text.replace(str(tmp_path / "cni") + '"', str(other) + '"'))
    assert await reload(server) == 0
    assert str(other) in await network_message(server)
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert {"cni configuration 0", "cni configuration 1"} <= names
    (other / "10-other.conflist").write_text(json.dumps(CONFLIST))

    await eventually(
        lambda: network_message(server), lambda message: str(other) not in message, "the network"
    )


async def test_sighup_has_the_file_read_again(server: Served, rewrite, capfd):
    rewrite('sandbox_image = "example.org/pause:5"\n')
    server.wishes.reload.set()
    await until(lambda: not server.wishes.reload.is_set())
    await eventually(
        lambda: info(server), lambda shown: shown["sandboxImage"] == "example.org/pause:5", "the new image"
    )
    rewrite("no toml")
    server.wishes.reload.set()
    await until(lambda: not server.wishes.reload.is_set())
    assert (await info(server))["sandboxImage"] == "example.org/pause:5"


async def test_signals_become_wishes():
    with signals_heard() as wishes:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(wishes.reload.wait(), 5)
        assert not wishes.stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(wishes.stop.wait(), 5)


async def test_a_manager_hears_of_a_reload(server: Served, tmp_path: Path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert await reload(server) == 0
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(100) == b"READY=1"
