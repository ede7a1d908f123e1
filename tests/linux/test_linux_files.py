"""FIFOs, files, filesystems."""

import errno
import os
import select
from pathlib import Path

import pytest

from cri.linux import fifo, files, filesystem, foreign_root


def test_a_fifo_has_exactly_its_mode_and_is_kept(tmp_path):
    path = tmp_path / "stdout"
    old = os.umask(0o077)
    try:
        fifo.make(path, 0o666)
        fifo.make(path, 0o666)
    finally:
        os.umask(old)
    assert path.is_fifo()
    assert path.stat().st_mode & 0o777 == 0o666
    (tmp_path / "plain").touch()
    with pytest.raises(FileExistsError):
        fifo.make(tmp_path / "plain")


def test_neither_end_waits_for_the_other(tmp_path):
    path = tmp_path / "stdin"
    fifo.make(path)
    with pytest.raises(OSError) as refused:  # noqa: PT011
        fifo.open_writer(path)
    assert refused.value.errno == errno.ENXIO
    writer = fifo.open_first_writer(path)
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")
    reader = os.open(path, os.O_RDONLY)  # the plain open: would wait for ever without a writer
    os.write(writer, b"now")
    assert os.read(reader, 10) == b"now"
    second = fifo.open_writer(path)
    for descriptor in (writer, reader, second):
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


def test_a_reader_sees_the_end_only_after_a_writer_was_there(tmp_path):
    path = tmp_path / "stdout"
    fifo.make(path)
    reader = fifo.open_reader(path)
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    assert poll.poll(0) == []
    os.close(fifo.open_writer(path))
    assert poll.poll(1000) == [(reader, select.POLLHUP)]
    os.close(reader)


def test_only_fifos_are_opened(tmp_path):
    (tmp_path / "plain").touch()
    (tmp_path / "link").symlink_to("fifo")
    fifo.make(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a FIFO"):
        fifo.open_reader(tmp_path / "plain")
    with pytest.raises(OSError, match="symbolic links"):
        fifo.open_reader(tmp_path / "link")


def test_atomic_replacement(tmp_path):
    path = tmp_path / "resolv.conf"
    files.write_atomically(path, b"one")
    before = path.stat().st_ino
    files.write_atomically(path, b"two", 0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_ino != before
    assert [entry.name for entry in tmp_path.iterdir()] == ["resolv.conf"]


def test_a_failed_replacement_leaves_the_old_file_alone(tmp_path):
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="target"):
        files.write_atomically(tmp_path / "target", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["target"]


def test_directories_are_made_below_and_nowhere_else(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    root = tmp_path / "root"
    for path in (elsewhere, root):
        path.mkdir()
    (root / "way").symlink_to(elsewhere)
    for _ in range(2):
        files.make_directories_below(root, Path("a/b"), 0o755)
    assert (root / "a/b").is_dir()
    with pytest.raises(NotADirectoryError):
        files.make_directories_below(root, Path("way/b"), 0o755)
    assert not list(elsewhere.iterdir())


@pytest.fixture(params=["openat2", "an older kernel"])
def kernel(request, monkeypatch):
    if request.param != "openat2":

        def refuse(*_, **__):
            raise OSError(errno.ENOSYS, "no openat2")

        monkeypatch.setattr(foreign_root.sys, "openat2", refuse)


@pytest.mark.usefixtures("kernel")
def test_reading_stays_inside_the_root(tmp_path):
    root = tmp_path / "root"
    (root / "usr/etc").mkdir(parents=True)
    (root / "etc").symlink_to("/usr/etc")
    (root / "usr/etc/passwd").write_text("inside")
    (root / "out").symlink_to("../../../../../../etc/passwd")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("outside")
    assert files.read_beneath(root, "/etc/passwd") == b"inside"
    assert files.read_beneath(root, "etc/../../../etc/passwd") == b"inside"
    assert files.read_beneath(root, "out") == b"inside"
    with pytest.raises(FileNotFoundError):
        files.read_beneath(root, "etc/group")


@pytest.mark.usefixtures("kernel")
def test_links_of_a_foreign_root(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").write_text("file")
    for name, target in [
        ("a/b/up", "../file"),
        ("a/b/absolute", "/a/file"),
        ("a/b/twice", "up"),
        ("a/b/directory", "/a/./b/../"),
        ("a/loop", "loop"),
        ("a/b/beyond", "/../../.././a//file"),
    ]:
        (tmp_path / name).symlink_to(target)
    for path in (
        "a/file",
        "/a/file",
        "a/b/up",
        "a/b/absolute",
        "a/b/twice",
        "a/b/directory/file",
        "a/b/beyond",
    ):
        assert files.read_beneath(tmp_path, path) == b"file", path
    for path, number in [
        ("a/loop", errno.ELOOP),
        ("a/file/below", errno.ENOTDIR),
        ("a/missing/file", errno.ENOENT),
        ("a", errno.EINVAL),
    ]:
        with pytest.raises(OSError) as refused:  # noqa: PT011
            files.read_beneath(tmp_path, path)
        assert refused.value.errno == number, path


@pytest.mark.usefixtures("kernel")
def test_reading_refuses_what_is_no_small_plain_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "big").write_bytes(b"x" * 11)
    (tmp_path / "self").symlink_to("/proc/self/root/etc/passwd")
    with pytest.raises(OSError, match="not a regular file"):
        files.read_beneath(tmp_path, "fifo")
    with pytest.raises(OSError, match="too large"):
        files.read_beneath(tmp_path, "big", limit=10)
    assert len(files.read_beneath(tmp_path, "big", limit=11)) == 11
    with pytest.raises(OSError):  # noqa: PT011
        files.read_beneath(tmp_path, "self")


def test_usage_of_a_directory(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a").write_bytes(os.urandom(100_000))
    os.link(tmp_path / "sub/a", tmp_path / "hard-link")
    (tmp_path / "loop").symlink_to(".")
    usage = filesystem.directory_usage(tmp_path)
    assert usage.inodes == 4, "the directory, sub, a (once for both names) and the link itself"
    assert 100_000 <= usage.used_bytes < 150_000
    with pytest.raises(FileNotFoundError):
        filesystem.directory_usage(tmp_path / "missing")


def test_usage_and_device_of_a_filesystem(tmp_path):
    usage = filesystem.filesystem_usage(tmp_path)
    assert 0 < usage.available_bytes <= usage.capacity_bytes - usage.used_bytes
    assert usage.inodes_used + usage.inodes_free == usage.inodes
    assert filesystem.device_of(Path("/proc")) == "proc"
