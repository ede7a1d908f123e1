"""The log file alone: full disks, torn ends, lost paths."""

import errno
import os
import stat

import pytest

from cri.logs import logfile
from cri.logs.logfile import LogFile

RECORD = b"T stdout F content\n"


@pytest.fixture
def log(tmp_path):
    file = LogFile(str(tmp_path / "0.log"))
    file.open()
    yield file
    file.close()


def content(log: LogFile) -> bytes:
    with open(log.path or "", "rb") as file:
        return file.read()


def room_for(monkeypatch, size: int) -> None:
    """Let the disk take `size` bytes more and then be full."""
    left = [size]

    def write(descriptor: int, data: bytes) -> int:
        taken = os.pwrite(descriptor, bytes(data)[: left[0]], 0) if left[0] else 0
        left[0] -= taken
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return taken

    monkeypatch.setattr(logfile.os, "writev", lambda descriptor, pieces: write(descriptor, b"".join(pieces)))
    monkeypatch.setattr(logfile.os, "write", write)


@pytest.mark.parametrize("room", [1, 18, 19, 20, 37, 38, 56])
def test_a_disk_that_fills_up_keeps_whole_records_only(log, monkeypatch, capfd, room):
    with monkeypatch.context() as full:
        room_for(full, room)
        log.write([RECORD, RECORD, RECORD])
    whole = room // len(RECORD)
    assert content(log) == RECORD * whole
    assert log.lost_lines == 3 - whole
    assert log.lost_bytes == len(RECORD) * (3 - whole)
    assert log.last_error.endswith("No space left on device")
    log.write([RECORD])
    assert content(log) == RECORD * (whole + 1)
    assert log.lost_lines == 3 - whole


def test_what_cannot_be_cut_off_is_closed_with_a_newline(log, monkeypatch, capfd):
    with monkeypatch.context() as full:
        room_for(full, 10)
        full.setattr(
            logfile.os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "append only"))
        )
        log.write([RECORD])
    log.write([RECORD])
    assert content(log) == RECORD[:10] + b"\n" + RECORD


def test_a_file_without_any_newline_nearby_is_not_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(logfile, "_LONGEST_TORN_BYTES", 100)
    path = tmp_path / "0.log"
    path.write_bytes(RECORD + b"x" * 200)
    log = LogFile(str(path))
    log.open()
    log.write([RECORD])
    assert content(log) == RECORD + b"x" * 200 + b"\n" + RECORD
    log.close()


def test_many_pieces_are_one_write(log):
    log.write([b"a", b"b\n"] * 5000)
    assert content(log) == b"ab\n" * 5000


def test_a_missing_path_is_tried_again(tmp_path, monkeypatch, capfd):
    log = LogFile(str(tmp_path / "later" / "0.log"))
    log.write([RECORD])
    log.write([RECORD])
    assert log.lost_lines == 2
    (tmp_path / "later").mkdir()
    monkeypatch.setattr(log, "_retry_at", 0.0)
    log.write([RECORD])
    assert content(log) == RECORD
    assert "can be written again" in capfd.readouterr().err
    log.close()
    log.close()


def test_no_path_at_all(capfd):
    log = LogFile(None)
    log.open()
    log.write([RECORD])
    assert (log.lost_bytes, log.last_error) == (0, "")


@pytest.fixture
def pod(tmp_path):
    """A pod's log directory with one container's, and a place that no log may get to."""
    (tmp_path / "pod" / "app").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "pod"


def test_a_directory_that_was_swapped_for_a_link_is_not_followed(pod, tmp_path):
    log = LogFile(str(pod / "app" / "0.log"), directory=str(pod))
    log.open()
    log.write([RECORD])
    (pod / "app").rename(pod / "aside")
    (pod / "app").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError):
        log.open()
    log.write([RECORD])
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (pod / "aside" / "0.log").read_bytes() == RECORD * 2, "the file that was open stays in use"
    log.close()


def test_the_log_directory_itself_may_lie_behind_a_link(pod, tmp_path):
    (tmp_path / "link").symlink_to(pod)
    log = LogFile(str(tmp_path / "link" / "app" / "0.log"), directory=str(tmp_path / "link"))
    log.write([RECORD])
    assert (pod / "app" / "0.log").read_bytes() == RECORD
    log.close()


@pytest.mark.parametrize("put", ["link", "dangling link", "fifo", "device"])
def test_a_log_that_was_swapped_is_not_written_to(pod, tmp_path, put):
    path, target = pod / "app" / "0.log", tmp_path / "elsewhere" / "passwd"
    if put == "fifo":
        os.mkfifo(path)
    elif put == "device":
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))  # /dev/null
    else:
        if put == "link":
            target.write_bytes(b"root")
        path.symlink_to(target)
    log = LogFile(str(path), directory=str(pod))
    with pytest.raises(OSError):  # noqa: PT011
        log.open()
    log.write([RECORD])
    assert log.lost_lines == 1
    assert not target.exists() or target.read_bytes() == b"root"
    log.close()


def test_a_rotation_that_fails_goes_on_in_the_old_file_and_is_tried_again_later(tmp_path, capfd):
    directory, moved = tmp_path / "logs", tmp_path / "moved"
    directory.mkdir()
    log = LogFile(str(directory / "0.log"), rotate_bytes=3 * len(RECORD))
    log.open()
    directory.rename(moved)
    for _ in range(4):
        log.write([RECORD])
    assert (moved / "0.log").read_bytes() == RECORD * 4
    assert (log.rotations, log.lost_lines) == (0, 0)
    moved.rename(directory)
    log.write([RECORD] * 2)
    log.write([RECORD])
    log.close()
    assert (directory / "0.log").read_bytes() == RECORD
    assert log.rotations == 1
    assert "cannot rotate" in capfd.readouterr().err
