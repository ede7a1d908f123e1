"""A server that is told to stop lets the calls under way end, for a while, and takes no more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from api.cri import CriError
from api.wire import criv1
from cri.app import serve
from tests.app.served import served
from tests.double import ContainerdDouble

PATIENCE_SECONDS = 10.0
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What gRPC tells of a server that is going: one or the other, by how far the call had come."""


async def test_a_call_under_way_is_answered_and_new_ones_are_refused(
    containerd: ContainerdDouble, tmp_path: Path
):
    async with served(containerd, tmp_path) as server:
        held = containerd.hang("Snapshots.List")
        call = server.cri.image.ImageFsInfo(criv1.ImageFsInfoRequest())
        await asyncio.wait_for(held.reached.wait(), PATIENCE_SECONDS)
        server.wishes.stop.set()
        with pytest.raises(CriError) as refused:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:  # until the listener has gone
                    await server.cri.version()
        assert refused.value.code() in GONE, refused.value
        assert not server.running.done(), "the server waits for what is under way"
        held.release()
        assert (await call).image_filesystems
        await asyncio.wait_for(server.running, PATIENCE_SECONDS)
    assert not server.socket.exists()


async def test_a_call_that_does_not_end_is_broken_off(
    containerd: ContainerdDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(serve, "DRAIN_SECONDS", 0.3)
    async with served(containerd, tmp_path) as server:
        held = containerd.hang("Snapshots.List")
        call = server.cri.image.ImageFsInfo(criv1.ImageFsInfoRequest())
        await asyncio.wait_for(held.reached.wait(), PATIENCE_SECONDS)
        server.wishes.stop.set()
        await asyncio.wait_for(server.running, PATIENCE_SECONDS)
        with pytest.raises(CriError) as broken:
            await call
        assert broken.value.code() in GONE, broken.value
        held.release()


async def test_a_watcher_of_events_does_not_hold_the_server_up(containerd: ContainerdDouble, tmp_path: Path):
    async with served(containerd, tmp_path) as server:
        watcher = server.cri.runtime.GetContainerEvents(criv1.GetEventsRequest())
        reading = asyncio.get_running_loop().create_task(watcher.read())
        await server.cri.version()
        server.wishes.stop.set()
        await asyncio.wait_for(server.running, serve.DRAIN_SECONDS / 2)
        await asyncio.wait([reading])
        if (error := reading.exception()) is not None:
            assert isinstance(error, CriError)
            assert error.code() is grpc.StatusCode.UNAVAILABLE, error


async def test_the_keeper_of_logs_is_not_told_that_it_failed(
    containerd: ContainerdDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    async with served(containerd, tmp_path):
        pass
    assert "endless task" not in capsys.readouterr().out, "an orderly end is no failure"
