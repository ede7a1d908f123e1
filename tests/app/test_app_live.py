"""`cri-shim status`, `timeline` and `log-level` against an admin socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cri.app.commands import run
from cri.errors import Unavailable
from cri.observe.admin import SOCKET_NAME, serve_admin
from cri.observe.logging import set_level
from cri.observe.stages import on_finished, operation, stage
from cri.observe.timelines import Timelines


@pytest_asyncio.fixture
async def state(tmp_path: Path) -> AsyncIterator[Path]:
    timelines = Timelines()
    remove = on_finished(timelines)
    async with serve_admin(tmp_path / SOCKET_NAME, timelines):
        yield tmp_path
    remove()


async def cri_shim(*arguments: str) -> int:
    return await asyncio.to_thread(run, arguments)


@contextlib.asynccontextmanager
async def stuck() -> AsyncIterator[None]:
    """An operation one of whose stages waits, in a task of its own."""
    reached = asyncio.Event()

    async def hanging_here() -> None:
        with stage("cni:bridge"):
            reached.set()
            await asyncio.Event().wait()

    with operation("RunPodSandbox", pod="shop/web"):
        with stage("netns"):
            pass
        attempt = asyncio.get_running_loop().create_task(hanging_here())
        await reached.wait()
        yield
        attempt.cancel()
        await asyncio.wait([attempt])


async def test_status_of_an_idle_server(state: Path, capsys: pytest.CaptureFixture[str]):
    assert await cri_shim("status", "--state", str(state)) == 0
    assert capsys.readouterr().out == "nothing is in flight\n"


async def test_status_names_object_stage_and_age(state: Path, capsys: pytest.CaptureFixture[str]):
    async with stuck():
        assert await cri_shim("status", "--state", str(state)) == 0
    shown = capsys.readouterr().out
    assert "RunPodSandbox pod=shop/web  in cni:bridge for 0." in shown
    assert "done: netns=0.0" in shown
    assert "hanging_here" not in shown


async def test_verbose_status_shows_the_stack_of_the_stages_task(
    state: Path, capsys: pytest.CaptureFixture[str]
):
    async with stuck():
        assert await cri_shim("status", "-v", "--state", str(state)) == 0
        assert await cri_shim("status", "-v", "--json", "--state", str(state)) == 0
    text, _, document = capsys.readouterr().out.partition("[\n")
    assert "stage cni:bridge:" in text
    assert "in test_verbose_status" in text or "in stuck" in text
    assert "hanging_here" in text, "the stage hangs in another task than the call's own"
    (described,) = json.loads("[\n" + document)
    assert described["stages"][0]["name"] == "cni:bridge"
    assert described["attributes"] == {"pod": "shop/web"}


async def test_timeline_as_text_picture_and_json(state: Path, capsys: pytest.CaptureFixture[str]):
    with operation("RunPodSandbox", pod="shop/web", uid="u", sandbox="a" * 64), stage("netns"):
        pass
    assert await cri_shim("timeline", "web", "--state", str(state)) == 0
    assert "netns" in capsys.readouterr().out
    picture = state / "web.svg"
    assert await cri_shim("timeline", "shop/web", "--state", str(state), "--svg", str(picture)) == 0
    assert picture.read_text().startswith("<svg")
    assert capsys.readouterr().out == ""
    assert await cri_shim("timeline", "u", "--state", str(state), "--json") == 0
    assert json.loads(capsys.readouterr().out)["uid"] == "u"


async def test_an_unknown_pod_is_an_error(state: Path, capsys: pytest.CaptureFixture[str]):
    assert await cri_shim("timeline", "nobody", "--state", str(state)) == 1
    assert "'nobody'" in capsys.readouterr().err


async def test_the_log_level_changes_at_run_time(state: Path):
    try:
        assert await cri_shim("log-level", "debug", "--state", str(state)) == 0
    finally:
        set_level("info")
    assert await cri_shim("log-level", "loud", "--state", str(state)) != 0


async def test_the_socket_is_roots_and_goes_with_the_server(tmp_path: Path):
    path = tmp_path / SOCKET_NAME
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with serve_admin(path, Timelines()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()
    with pytest.raises(Unavailable, match="cannot listen"):
        async with serve_admin(tmp_path / "no" / "such" / SOCKET_NAME, Timelines()):
            pass


async def test_without_a_server_the_command_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert await cri_shim("status", "--state", str(tmp_path)) == 1
    assert "--embedded" in capsys.readouterr().err
