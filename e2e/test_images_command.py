"""`cri-shim image`: the command against a running server and its containerd."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from cri.app.built_image import Settings, image_of, layer_from_tar, layout_archive
from cri.app.host_images import busybox_image
from e2e.harness.catalogue import layered, scratch
from e2e.harness.eventually import eventually
from e2e.harness.image_service import known, present, pull, remove
from e2e.harness.leftovers import collect_garbage
from e2e.harness.push import push
from e2e.harness.scripted_registry import Pause, demand_password

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.node import Node
    from e2e.harness.scripted_registry import ScriptedRegistry
    from e2e.harness.workload import Workloads

pytestmark = [pytest.mark.usefixtures("node", "only_images_of_before"), pytest.mark.cri_shim_only]

FIRST = scratch(b"by command")


async def command(node: Node, *words: str, stdin: bytes = b"", status: int = 0) -> str:
    """What `cri-shim image WORDS` prints, errors included."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cri.app.cli", "image", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "CONTAINER_RUNTIME_ENDPOINT": node.server.endpoint},
    )
    output, _ = await process.communicate(stdin)
    assert process.returncode == status, output.decode()
    return output.decode()


async def test_pull_list_remove(node: Node) -> None:
    image = layered(3, 300_000)
    digest = await push(node.registry, "t/command", "1", image)
    reference = f"{node.registry.host}/t/command:1"
    printed = await command(node, "pull", reference)
    for expected in (image.config.digest, digest, f"from     {node.registry.host}", "layers   3, of which 0"):
        assert expected in printed
    assert "\x1b" not in printed, "lines without control characters where there is no terminal"
    assert "layers   3, of which 3" in await command(node, "pull", reference)
    rows = (await command(node, "ls")).splitlines()
    assert [row.split()[:2] for row in rows if "t/command" in row] == [
        [f"{node.registry.host}/t/command", "1"]
    ]
    await command(node, "rm", reference)
    assert await known(node.cri, reference) is None
    assert "no image" in await command(node, "rm", reference, status=1)


async def test_bars_on_a_terminal(node: Node, scripted: ScriptedRegistry) -> None:
    image = layered(1, 8_000_000, seed=7)
    reference = scripted.hold("t/bars", "1", image)
    pause = Pause(image.layers[0].blob, 5_000_000)
    scripted.faults.append(pause)
    terminal = Terminal(asyncio.get_running_loop(), pause.release)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cri.app.cli", "image", "pull", reference),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=terminal.theirs,
        env={**os.environ, "CONTAINER_RUNTIME_ENDPOINT": node.server.endpoint},
    )
    async with asyncio.timeout(30):
        shown = await asyncio.to_thread(terminal.read)
    assert await process.wait() == 0
    assert "[==============================]  8.0 MB / 8.0 MB" in shown
    assert "\x1b[1A" in shown, "the bar is drawn over itself"


class Terminal:
    """A pseudo terminal, and an event that is set when a bar has been drawn that has begun to grow."""

    def __init__(self, loop: asyncio.AbstractEventLoop, grown: asyncio.Event) -> None:
        self._ours, self.theirs = pty.openpty()
        self._loop = loop
        self._grown = grown

    def read(self) -> str:
        """Everything until the program at the other end has ended. Blocking."""
        os.close(self.theirs)
        shown = b""
        try:
            while block := os.read(self._ours, 65536):
                shown += block
                if b"[==" in shown:
                    self._loop.call_soon_threadsafe(self._grown.set)
        except OSError:  # EIO: how a terminal says that nobody is at its other end
            pass
        finally:
            os.close(self._ours)
        return shown.decode()


async def test_a_password_from_standard_input(node: Node, scripted: ScriptedRegistry) -> None:
    reference = scripted.hold("t/private", "1", FIRST)
    scripted.faults.append(demand_password("user", "typed-secret"))
    assert "wants a user name" in await command(node, "pull", reference, status=1)
    words = ("pull", reference, "--user", "user", "--password-stdin")
    assert FIRST.config.digest in await command(node, *words, stdin=b"typed-secret\n")
    assert "typed-secret" not in node.server.log_file.read_text()


async def test_export_and_import_give_the_same_image(
    node: Node, tmp_path: Path, workloads: Workloads
) -> None:
    image = busybox_image(settings=Settings(command=("sh",), labels={"test": "export"}))
    await push(node.registry, "t/export", "1", image)
    reference = f"{node.registry.host}/t/export:1"
    await pull(node.cri, reference)
    exported = tmp_path / "image.tar"
    await command(node, "export", reference, "-o", str(exported))
    await remove(node.cri, reference)
    await collect_garbage(node.containerd.address)
    assert f"imported {reference}" in await command(node, "import", "-", stdin=exported.read_bytes())
    await eventually(
        lambda: known(node.cri, reference), lambda found: found is not None, "the image is known"
    )
    assert (await present(node.cri, reference)).id == image.config.digest
    pod = await workloads.pod()
    container = await pod.sleeper(image=reference)
    assert await container.output_of("echo imported") == "imported"


async def test_an_archive_of_docker_save(node: Node, tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    config = image_of([layer_from_tar(layer.read_bytes())], Settings()).config
    (tmp_path / "config.json").write_bytes(config.content)
    (tmp_path / "manifest.json").write_text(
        '[{"Config": "config.json", "Layers": ["layer.tar"], "RepoTags": ["saved/by-docker:2"]}]'
    )
    with tarfile.open(tmp_path / "saved.tar", "w") as tar:
        for name in ("config.json", "manifest.json", "layer.tar"):
            tar.add(tmp_path / name, arcname=name)
    await command(node, "import", str(tmp_path / "saved.tar"))
    name = "docker.io/saved/by-docker:2"
    found = await eventually(
        lambda: known(node.cri, name), lambda image: image is not None, f"{name} is known"
    )
    assert found is not None
    assert found.id == config.digest


async def test_a_broken_archive_is_explained(node: Node, tmp_path: Path) -> None:
    whole = layout_archive({"example.invalid/broken:1": FIRST})
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "text.tar").write_text("no archive")
    for name in ("cut.tar", "text.tar"):
        printed = await command(node, "import", str(tmp_path / name), status=1)
        assert "Traceback" not in printed
        assert "archive" in printed
