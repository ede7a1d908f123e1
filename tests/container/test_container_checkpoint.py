"""Checkpoints: what is refused, and that a container is never left frozen."""

from __future__ import annotations

from pathlib import Path

import pytest

from cri.container import checkpoint
from cri.errors import Aborted, FailedPrecondition, InvalidArgument
from tests.node import DoubleNode


@pytest.fixture(autouse=True)
def criu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of any kind: the double does not call it."""
    monkeypatch.setattr(checkpoint, "CRIU", "true")


async def test_a_runtime_that_cannot_leaves_the_container_running_and_no_file(
    node: DoubleNode, tmp_path: Path
):
    _, container = await node.running()
    with pytest.raises(FailedPrecondition, match="criu"):
        await node.containers.checkpoint(container, str(tmp_path / "one.tar"), 0)
    assert node.containerd.methods()[-3:] == ["Tasks.Pause", "Tasks.Checkpoint", "Tasks.Resume"]
    assert not list(tmp_path.glob("*.tar"))
    assert not node.pods.engine.paths.container_files(container).exists()
    with pytest.raises(FailedPrecondition):  # and not Aborted: the first one is over
        await node.containers.checkpoint(container, str(tmp_path / "one.tar"), 0)


async def test_without_criu_nothing_is_frozen(
    node: DoubleNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(checkpoint, "CRIU", "no-such-program")
    _, container = await node.running()
    node.containerd.calls.clear()
    with pytest.raises(FailedPrecondition, match="apt-get install criu"):
        await node.containers.checkpoint(container, str(tmp_path / "one.tar"), 0)
    assert node.containerd.methods() == []


async def test_one_at_a_time(node: DoubleNode, tmp_path: Path):
    _, container = await node.running()
    node.pods.engine.checkpoints.add(container)
    with pytest.raises(Aborted):
        await node.containers.checkpoint(container, str(tmp_path / "one.tar"), 0)


@pytest.mark.parametrize("location", ["", "relative", "/", "/no/such/directory/one.tar", "/tmp", "/tmp/a\0b"])
async def test_impossible_locations(node: DoubleNode, location: str):
    _, container = await node.running()
    with pytest.raises(InvalidArgument, match="location"):
        await node.containers.checkpoint(container, location, 0)
