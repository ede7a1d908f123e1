from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest

from cri.linux.directory_watch import DirectoryWatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NEVER = 30.0


async def sees(watch: DirectoryWatch, change: Callable[[], object]) -> None:
    """Fail unless the watch reports the change by itself, long before it would look anyway."""
    await watch.arm()
    change()
    async with asyncio.timeout(5):
        await watch.changed(NEVER)


async def stays_quiet(watch: DirectoryWatch, change: Callable[[], object]) -> None:
    await watch.arm()
    change()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await watch.changed(NEVER)


async def test_changes_of_files_are_seen(tmp_path: Path) -> None:
    directory = tmp_path / "net.d"
    directory.mkdir()
    async with DirectoryWatch([directory]) as watch:
        await sees(watch, lambda: (directory / "a").write_text("1"))
        await sees(watch, lambda: (directory / "a").write_text("2"))
        await sees(watch, lambda: (directory / "a").rename(directory / "b"))
        await sees(watch, lambda: (directory / "b").chmod(0o600))
        await sees(watch, lambda: (directory / "b").unlink())


async def test_a_directory_that_appears_later_is_seen_at_every_level(tmp_path: Path) -> None:
    directory = tmp_path / "etc" / "cni" / "net.d"
    async with DirectoryWatch([directory]) as watch:
        await stays_quiet(watch, (tmp_path / "unrelated").mkdir)
        await sees(watch, (tmp_path / "etc").mkdir)
        await sees(watch, (tmp_path / "etc" / "cni").mkdir)
        await sees(watch, directory.mkdir)
        await sees(watch, (directory / "a").touch)


async def test_a_directory_made_at_once_is_not_missed(tmp_path: Path) -> None:
    directory = tmp_path / "etc" / "cni" / "net.d"
    async with DirectoryWatch([directory]) as watch:
        await sees(watch, lambda: directory.mkdir(parents=True))
        await sees(watch, (directory / "a").touch)


async def test_a_directory_that_is_replaced_is_followed(tmp_path: Path) -> None:
    directory = tmp_path / "net.d"
    directory.mkdir()
    async with DirectoryWatch([directory]) as watch:
        await sees(watch, lambda: directory.rename(tmp_path / "old"))
        await sees(watch, directory.mkdir)
        await stays_quiet(watch, (tmp_path / "old" / "a").touch)
        await sees(watch, (directory / "a").touch)
        await sees(watch, lambda: shutil.rmtree(directory))
        await sees(watch, directory.mkdir)
        await sees(watch, (directory / "b").touch)


async def test_a_symbolic_link_that_is_turned_elsewhere_is_followed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link = tmp_path / "net.d"
    link.symlink_to("one")

    def turn() -> None:
        (tmp_path / "new").symlink_to("two")
        (tmp_path / "new").rename(link)

    async with DirectoryWatch([link]) as watch:
        await sees(watch, (tmp_path / "one" / "a").touch)
        await sees(watch, turn)
        await sees(watch, (tmp_path / "two" / "a").touch)


async def test_without_inotify_it_answers_maybe_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("cri.linux.directory_watch.Inotify", refused)
    async with DirectoryWatch([tmp_path]) as watch:
        await watch.arm()
        async with asyncio.timeout(5):
            await watch.changed(0.01)


async def test_an_endless_stream_of_changes_is_still_reported(tmp_path: Path) -> None:
    async with DirectoryWatch([tmp_path]) as watch, asyncio.timeout(5), asyncio.TaskGroup() as group:

        async def churn() -> None:
            while True:
                (tmp_path / "a").touch()
                await asyncio.sleep(0.01)

        await watch.arm()
        churning = group.create_task(churn())
        await watch.changed(NEVER)
        churning.cancel()
