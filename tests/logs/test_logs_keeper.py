"""The log keeper as a real process with real FIFOs: following, rotating, draining, crashing."""

import asyncio
import itertools
import os
import signal
import socket
import stat
import sys
import threading
import time

import pytest
from pretended_pods import COMMAND, feed, until

from cri.errors import FailedPrecondition, NotFound, Unavailable
from cri.linux import process
from cri.linux.mounts import mount_tmpfs
from cri.linux.sessions import describe
from cri.logs import protocol
from cri.logs.client import Followed, LogKeeper
from cri.logs.pump import BLOCK_BYTES


async def test_output_becomes_records_in_order(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, err = pod.open()
    os.write(out, b"one\ntwo\n")
    await until(lambda: len(pod.records()) == 2, "output is written at once")
    os.write(err, b"problem\r\n")
    await until(lambda: len(pod.records()) == 3, "output is written at once")
    os.write(out, b"no newline")
    pod.close()
    assert await keeper.drained("c1", 10)
    assert pod.records() == [
        ("stdout", "F", b"one"),
        ("stdout", "F", b"two"),
        ("stderr", "F", b"problem"),
        ("stdout", "P", b"no newline"),
    ]
    assert stat.S_IMODE(os.stat(pod.log).st_mode) == 0o640
    counters = (await keeper.statistics())["c1"]
    assert (counters.bytes, counters.lines, counters.finished) == (27, 4, True)


async def test_a_terminal_has_one_stream(pods, keepers):
    keeper, pod = await keepers(), pods("tty", terminal=True)
    await keeper.follow(pod.followed)
    (out,) = pod.open()
    os.write(out, b"prompt\r\n")
    pod.close()
    assert await keeper.drained("tty", 10)
    assert pod.records() == [("stdout", "F", b"prompt")]


async def test_long_lines_are_split(pods, keepers):
    keeper, pod = await keepers(), pods("long", max_line=10)
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    os.write(out, b"x" * 25 + b"\n")
    pod.close()
    assert await keeper.drained("long", 10)
    assert [(tag, len(text)) for _, tag, text in pod.records()] == [("P", 10), ("P", 10), ("F", 5)]
    assert (await keeper.statistics())["long"].split_lines == 2


async def test_following_makes_the_shims_open_return_at_once(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    with pytest.raises(OSError, match="No such device"):
        pod.open()
    await keeper.follow(pod.followed)
    descriptor = os.open(pod.stdout, os.O_WRONLY)  # without O_NONBLOCK it would wait for a reader
    os.close(descriptor)


async def test_following_anew_reads_after_the_end_of_all_or_some_streams(pods, keepers):
    """A shim that was told to make the process has ended on the way to that."""
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow_anew(pod.followed)
    first, _ = pod.open()
    os.write(first, b"one\n")
    pod.close()
    assert await keeper.drained("c1", 10)
    await keeper.follow_anew(pod.followed)
    os.close(os.open(pod.stdout, os.O_WRONLY | os.O_NONBLOCK))  # the other end stays as it is
    await keeper.follow_anew(pod.followed)
    out, _ = pod.open()
    os.write(out, b"two\n")
    pod.close()
    assert await keeper.drained("c1", 10)
    assert [text for _, _, text in pod.records()] == [b"one", b"two"]


async def test_following_twice_is_once_and_other_paths_are_refused(pods, keepers, tmp_path):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    os.write(out, b"one\n")
    await keeper.follow(pod.followed)
    os.write(out, b"two\n")
    pod.close()
    assert await keeper.drained("c1", 10)
    assert [text for _, _, text in pod.records()] == [b"one", b"two"]
    other = Followed("c1", pod.stdout, pod.stderr, tmp_path / "other.log", terminal=False)
    with pytest.raises(FailedPrecondition, match="c1 is followed with other paths"):
        await keeper.follow(other)
    assert not (tmp_path / "other.log").exists()


async def test_what_cannot_be_opened_is_named_and_nothing_is_followed(pods, keepers, tmp_path):
    keeper, pod = await keepers(), pods("c1")
    missing = tmp_path / "nowhere" / "0.log"
    with pytest.raises(FailedPrecondition, match=rf"log of container c1, {missing}: No such file"):
        await keeper.follow(Followed("c1", pod.stdout, pod.stderr, missing, terminal=False))
    with pytest.raises(FailedPrecondition, match="missing-fifo"):
        await keeper.follow(Followed("c1", tmp_path / "missing-fifo", None, pod.log, terminal=False))
    assert not pod.log.exists()
    (tmp_path / "plain").touch()
    with pytest.raises(FailedPrecondition, match="not a FIFO"):
        await keeper.follow(Followed("c1", pod.stdout, tmp_path / "plain", pod.log, terminal=False))
    assert await keeper.statistics() == {}
    await keeper.follow(pod.followed)


async def test_a_symbolic_link_as_log_is_refused(pods, keepers, tmp_path):
    keeper, pod = await keepers(), pods("c1")
    pod.log.symlink_to(tmp_path / "victim")
    with pytest.raises(FailedPrecondition, match="symbolic links"):
        await keeper.follow(pod.followed)
    assert not (tmp_path / "victim").exists()


async def test_without_a_log_path_output_is_drained_and_nothing_counts_as_lost(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(Followed("c1", pod.stdout, pod.stderr, None, terminal=False))
    out, _ = pod.open()
    await asyncio.to_thread(feed, out, b"line\n" * 1_000_000)
    pod.close()
    assert await keeper.drained("c1", 10)
    counters = (await keeper.statistics())["c1"]
    assert (counters.bytes, counters.lost_bytes) == (5_000_000, 0)


async def test_a_full_disk_stops_nobody_and_is_counted(pods, keepers):
    keeper, pod, healthy = await keepers(), pods("full"), pods("healthy")
    disk = pod.log.parent / "disk"
    disk.mkdir()
    mount_tmpfs(disk, size=4096, mode=0o755)
    (disk / "other").write_bytes(bytes(4096))
    await keeper.follow(Followed("full", pod.stdout, pod.stderr, disk / "0.log"))
    await keeper.follow(healthy.followed)
    out, _ = pod.open()
    await asyncio.to_thread(feed, out, b"x" * 99 + b"\n" + b"y" * 99 + b"\n")
    await asyncio.to_thread(feed, out, (b"z" * 99 + b"\n") * 50_000)
    healthy_out, _ = healthy.open()
    os.write(healthy_out, b"fine\n")
    pod.close()
    healthy.close()
    assert await keeper.drained("full", 10)
    assert await keeper.drained("healthy", 10)
    counters = (await keeper.statistics())["full"]
    assert counters.lost_lines == counters.lines == 50_002
    assert counters.lost_bytes > counters.bytes == 5_000_200
    assert counters.last_error == f"cannot write {disk}/0.log: No space left on device"
    assert healthy.records() == [("stdout", "F", b"fine")]


async def test_streams_of_one_container_never_tear_each_others_records(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, err = pod.open()
    count = 30_000
    lines = {
        name: [b"%s %d " % (name, n) + b"." * (n % 300) for n in range(count)] for name in (b"out", b"err")
    }
    await asyncio.gather(
        asyncio.to_thread(feed, out, b"\n".join(lines[b"out"]) + b"\n"),
        asyncio.to_thread(feed, err, b"\n".join(lines[b"err"]) + b"\n"),
    )
    pod.close()
    assert await keeper.drained("c1", 20)
    records = pod.records()
    assert [text for stream, _, text in records if stream == "stdout"] == lines[b"out"]
    assert [text for stream, _, text in records if stream == "stderr"] == lines[b"err"]


async def test_rotation_under_full_load_loses_and_doubles_nothing(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    lines = [b"%d" % n for n in range(400_000)]
    writer = threading.Thread(target=feed, args=(out, b"\n".join(lines) + b"\n"))
    writer.start()
    rotated = []
    while writer.is_alive() or not rotated:
        rotated.append(pod.log.with_name(f"0.log.{len(rotated)}"))
        os.rename(pod.log, rotated[-1])
        await keeper.reopen("c1")
        await asyncio.sleep(0.003)
    writer.join()
    pod.close()
    assert await keeper.drained("c1", 10)
    found = [text for path in [*rotated, pod.log] for _, _, text in pod.records(path)]
    assert found == lines


async def test_a_failed_reopen_makes_no_file_and_keeps_the_old_one(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    with pytest.raises(NotFound, match="c1 is not followed"):
        await keeper.reopen("c1")
    assert not pod.log.exists()
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    moved = pod.directory.with_name("moved")
    os.rename(pod.directory, moved)
    with pytest.raises(FailedPrecondition, match="No such file"):
        await keeper.reopen("c1")
    os.write(out, b"still\n")
    pod.close()
    assert await keeper.drained("c1", 10)
    assert pod.records(moved / "0.log") == [("stdout", "F", b"still")]
    assert sorted(path.name for path in moved.iterdir()) == ["0.log", "stderr", "stdout"]


async def test_draining_waits_for_the_last_writer(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    assert not await keeper.drained("c1", 0.1), "the streams are still open"
    draining = asyncio.get_running_loop().create_task(keeper.drained("c1", 10))
    await asyncio.sleep(0.05)
    os.write(out, b"last words\n")
    pod.close()
    assert await draining
    assert pod.records() == [("stdout", "F", b"last words")]


async def test_a_container_that_never_opened_its_output_is_drained(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    assert await keeper.drained("c1", 5), "nobody holds a write end: there is nothing to wait for"
    assert await keeper.drained("unknown", 5)


async def test_release_flushes_and_forgets(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    os.write(out, b"a\nb")
    last = await keeper.release("c1")
    assert last is not None
    assert (last.bytes, last.lines, last.finished) == (3, 2, True)
    assert await keeper.release("c1") is None
    assert pod.records() == [("stdout", "F", b"a"), ("stdout", "P", b"b")]
    with pytest.raises(BrokenPipeError):
        os.write(out, b"nobody reads")
    assert await keeper.statistics() == {}


async def test_release_answers_who_waits_for_the_drain(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    pod.open()
    draining = asyncio.get_running_loop().create_task(keeper.drained("c1", 10))
    await asyncio.sleep(0.02)
    await keeper.release("c1")
    assert await draining


async def test_release_of_a_flooding_container_ends(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, _ = pod.open()

    def flood() -> None:
        try:
            while True:
                os.write(out, b"flood\n" * 10_000)
        except BrokenPipeError:
            pass

    writer = threading.Thread(target=flood)
    writer.start()
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await keeper.release("c1")
    await asyncio.to_thread(writer.join)
    pod.records()


async def test_the_keeper_outlives_its_server_and_the_next_server_finds_it(pods, keepers):
    first, pod = await keepers(), pods("c1")
    await first.follow(pod.followed)
    out, _ = pod.open()
    pid = first.pid
    await first.close()
    with pytest.raises(Unavailable):
        await first.reopen("c1")
    await asyncio.to_thread(feed, out, b"unattended\n" * 300_000)
    second = await keepers()
    assert second.pid == pid
    await second.follow(pod.followed)
    pod.close()
    assert await second.drained("c1", 10)
    assert len(pod.records()) == 300_000


async def test_a_server_that_is_killed_costs_no_line(pods, keepers, tmp_path):
    keeper, pod = await keepers(), pods("c1")
    script = f"""
import asyncio, os, sys
from pathlib import Path
from cri.linux.mounts import mount_tmpfs
from cri.logs.client import Followed, LogKeeper
from cri.logs.pump import BLOCK_BYTES

async def main():
    async def again():
        return []
    keeper = LogKeeper(Path({str(tmp_path / "keeper.sock")!r}), [sys.executable, "-m", "cri.logs.keeper"], again)
    await keeper.start()
    await keeper.follow(
        Followed("c1", Path({str(pod.stdout)!r}), Path({str(pod.stderr)!r}), Path({str(pod.log)!r}), False)
    )
    print("follows", flush=True)
    await asyncio.sleep(100)

asyncio.run(main())
"""
    lines = [b"%d" % n for n in range(500_000)]
    writer = None
    for _ in range(3):
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
        )
        assert server.stdout is not None
        assert await server.stdout.readline() == b"follows\n"
        if writer is None:
            out, _ = pod.open()
            writer = threading.Thread(target=feed, args=(out, b"\n".join(lines) + b"\n"))
            writer.start()
        server.kill()
        await server.wait()
        server._transport.close()  # type: ignore[attr-defined]
    assert writer is not None
    await asyncio.to_thread(writer.join)
    pod.close()
    assert await keeper.drained("c1", 10)
    assert [text for _, _, text in pod.records()] == lines


async def test_a_server_that_starts_with_a_new_keeper_resumes_what_runs(pods, keepers):
    pod = pods("c1")
    first = await keepers()
    await first.follow(pod.followed)
    out, _ = pod.open()
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    await first.close()
    second = await keepers(lambda: [pod.followed])
    assert await second.statistics() == {}
    await second.resume()
    await second.resume()
    os.write(out, b"heard\n")
    pod.close()
    assert await second.drained("c1", 10)
    assert [text for _, _, text in pod.records()] == [b"heard"]


async def test_a_keeper_that_nobody_can_reach_ends_with_its_containers(pods, tmp_path):
    path = tmp_path / "lost.sock"
    script = (
        "import sys; from cri.logs import keeper, loop; loop._ORPHAN_CHECK_SECONDS = 0.05; "
        f"sys.exit(keeper.main(['--socket', {str(path)!r}]))"
    )
    running = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    await until(path.exists, "the socket")
    pod = pods("c1")
    client = LogKeeper(path, COMMAND, _nothing)
    await client.start()
    await client.follow(pod.followed)
    pod.open()
    await client.close()
    assert not await process.exited(running.pid, 0.3), "it can be reached"
    path.unlink()
    assert not await process.exited(running.pid, 0.3), "a container still writes"
    pod.close()
    assert await running.wait() == 0


async def _nothing() -> list[Followed]:
    return []


async def test_a_killed_keeper_is_replaced_and_follows_again(pods, keepers):
    pod, idle = pods("c1"), pods("idle")
    keeper = await keepers(lambda: [pod.followed, idle.followed])
    await keeper.follow(pod.followed)
    await keeper.follow(idle.followed)
    out, _ = pod.open()
    idle_out, _ = idle.open()
    shim_side = os.open(pod.stdout, os.O_RDONLY | os.O_NONBLOCK)  # the shim holds a read end as well
    os.write(out, b"before\n")
    await until(lambda: len(pod.records()) == 1, "the first line is written")
    watching = asyncio.get_running_loop().create_task(keeper.run())
    first = keeper.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await process.exited(first, 5)
    os.write(out, b"while it was dead\n")
    await until(lambda: keeper.pid not in (None, first), "a new keeper runs")
    os.write(out, b"after\n")
    os.write(idle_out, b"me too\n")
    pod.close()
    idle.close()
    assert await keeper.drained("c1", 10)
    assert await keeper.drained("idle", 10)
    assert [text for _, _, text in pod.records()] == [b"before", b"while it was dead", b"after"]
    assert [text for _, _, text in idle.records()] == [b"me too"]
    assert keeper.restarts == 1
    watching.cancel()
    os.close(shim_side)


async def test_killing_the_keeper_under_full_load_costs_a_block_at_most(pods, keepers):
    pod = pods("c1")
    keeper = await keepers(lambda: [pod.followed])
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    shim_side = os.open(pod.stdout, os.O_RDONLY | os.O_NONBLOCK)
    count, kills = 1_000_000, 3
    lines = b"".join(b"%07d\n" % n for n in range(count))
    writer = threading.Thread(target=feed, args=(out, lines))
    writer.start()
    for number in range(kills):
        await until(lambda number=number: pod.log.stat().st_size > number * 1_000_000, "the log grows")
        assert keeper.pid is not None
        os.kill(keeper.pid, signal.SIGKILL)
        await keeper.statistics()
    await asyncio.to_thread(writer.join)
    pod.close()
    os.close(shim_side)
    assert await keeper.drained("c1", 10)
    found = [text for _, _, text in pod.records()]
    torn = [text for text in found if len(text) != 7]
    assert len(torn) <= 2 * kills, "only the line that a kill cut in two is torn"
    whole = [int(text) for text in found if len(text) == 7]
    assert all(earlier < later for earlier, later in itertools.pairwise(whole)), "nothing is doubled"
    assert (count - len(whole)) * 8 <= kills * (BLOCK_BYTES + 16), "more than one block in flight was lost"


async def test_a_request_restarts_a_dead_keeper_by_itself(pods, keepers):
    pod = pods("c1")
    keeper = await keepers(lambda: [pod.followed])
    await keeper.follow(pod.followed)
    pod.open()
    assert keeper.pid is not None
    os.kill(keeper.pid, signal.SIGKILL)
    await keeper.reopen("c1")
    assert list(await keeper.statistics()) == ["c1"]


async def test_a_container_that_ended_while_the_keeper_was_dead_is_drained(pods, keepers):
    pod = pods("c1")
    keeper = await keepers(lambda: [pod.followed])
    await keeper.follow(pod.followed)
    pod.open()
    assert keeper.pid is not None
    os.kill(keeper.pid, signal.SIGKILL)
    pod.close()
    assert await keeper.drained("c1", 5)


async def test_a_log_that_cannot_be_opened_again_does_not_block_the_container(pods, keepers):
    pod = pods("c1")
    keeper = await keepers(lambda: [pod.followed])
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    assert keeper.pid is not None
    os.kill(keeper.pid, signal.SIGKILL)
    pod.log.unlink()
    pod.log.mkdir()
    await keeper.statistics()
    await asyncio.to_thread(feed, out, b"lost\n" * 400_000)
    pod.log.rmdir()
    await keeper.reopen("c1")
    os.write(out, b"kept\n")
    pod.close()
    assert await keeper.drained("c1", 10)
    assert pod.records()[-1] == ("stdout", "F", b"kept")
    assert (await keeper.statistics())["c1"].lost_lines > 0


@pytest.mark.parametrize("torn", [b"2024-01-01T00:00:00.000000000Z stdout F tor", b"2024-0", b""])
async def test_a_torn_end_of_an_old_log_is_removed(pods, keepers, torn):
    keeper, pod = await keepers(), pods("c1")
    whole = b"2024-01-01T00:00:00.000000000Z stdout F whole\n"
    pod.log.write_bytes(whole + torn)
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    os.write(out, b"next\n")
    pod.close()
    assert await keeper.drained("c1", 10)
    assert [text for _, _, text in pod.records()] == [b"whole", b"next"]


async def test_shutdown_flushes_and_leaves_no_socket(pods, keepers, tmp_path):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    os.write(out, b"half a line")
    pid = keeper.pid
    assert pid is not None
    await keeper.shutdown()
    await keeper.shutdown()
    assert await process.exited(pid, 5)
    assert pod.records() == [("stdout", "P", b"half a line")]
    assert not (tmp_path / "keeper.sock").exists()


async def test_sigterm_flushes_too(pods, keepers):
    keeper, pod = await keepers(), pods("c1")
    await keeper.follow(pod.followed)
    out, _ = pod.open()
    os.write(out, b"half a line")
    pid = keeper.pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    assert await process.exited(pid, 5)
    assert pod.records() == [("stdout", "P", b"half a line")]


async def test_one_keeper_for_all_who_start_at_once(keepers):
    found = await asyncio.gather(*(keepers() for _ in range(5)))
    assert len({keeper.pid for keeper in found}) == 1


async def test_a_socket_path_of_any_length(keepers, pods, tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    keeper, pod = await keepers(socket=deep / "keeper.sock"), pods("c1")
    await keeper.follow(pod.followed)
    async with await keeper.subscribe("c1"):
        assert list(await keeper.statistics()) == ["c1"]


async def test_the_keeper_is_private_and_on_its_own(keepers, tmp_path):
    keeper = await keepers()
    pid = keeper.pid
    assert pid is not None
    assert stat.S_IMODE(os.stat(tmp_path / "keeper.sock").st_mode) == 0o600
    assert process.parent(pid) != os.getpid(), "it must not end with its server, nor become its zombie"
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert describe(pid).startswith(f"process {pid} (cri-log-keeper)")
    for number in (0, 1):
        assert os.readlink(f"/proc/{pid}/fd/{number}") == "/dev/null"


async def test_a_program_that_cannot_serve_is_reported(tmp_path):
    missing = LogKeeper(tmp_path / "s", ["/nowhere/keeper"], _nothing)
    with pytest.raises(Unavailable, match="cannot start the log keeper /nowhere/keeper: No such file"):
        await missing.start()
    broken = LogKeeper(tmp_path / "s", ["/bin/sh", "-c", "echo the reason >&2; exit 7"], _nothing)
    with pytest.raises(Unavailable, match="ended at once with 7: the reason"):
        await broken.start()
    await broken.shutdown()


async def test_bad_requests_are_answered_and_nonsense_is_dropped(keepers, tmp_path):
    keeper = await keepers()

    def talk() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(tmp_path / "keeper.sock"))
            decoder = protocol.FrameDecoder()
            frames = []

            def ask(message: protocol.Message) -> protocol.Message:
                client.sendall(protocol.encode(message))
                while len(frames) < 1:
                    frames.extend(decoder.feed(client.recv(65536)))
                return protocol.decode(frames.pop(0)[1])

            assert ask({"seq": 0, "do": "statistics"})["hello"] == protocol.VERSION
            assert ask({"seq": 1, "do": "dance"}) == {"seq": 0, "result": {}}
            while len(frames) < 1:
                frames.extend(decoder.feed(client.recv(65536)))
            assert protocol.decode(frames.pop(0)[1])["error"] == protocol.UNSUPPORTED
            assert ask({"seq": 2, "do": "follow"})["error"] == protocol.MALFORMED
            assert ask({"seq": 3, "do": "reopen"})["error"] == protocol.MALFORMED
            assert ask({"seq": 4, "do": "reopen", "container": 5})["error"] == protocol.UNKNOWN_CONTAINER
            assert (
                ask({"seq": 5, "do": "follow", "followed": {"container": "x"}})["error"] == protocol.MALFORMED
            )
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert client.recv(1000) == b"", "nonsense ends the connection"

    await asyncio.to_thread(talk)
    assert await keeper.statistics() == {}


async def test_replacing_the_keeper_under_full_load_loses_nothing(pods, keepers, monkeypatch):
    pod, short = pods("c1"), pods("short")
    keeper = await keepers(lambda: [pod.followed, short.followed])
    await keeper.follow(pod.followed)
    await keeper.follow(short.followed)
    assert not keeper.outdated
    monkeypatch.setattr("cri.logs.client.REVISION", protocol.REVISION + 1)
    assert keeper.outdated
    out, _ = pod.open()
    lines = [b"%d" % n for n in range(500_000)]
    writer = threading.Thread(target=feed, args=(out, b"\n".join(lines) + b"\n"))
    writer.start()
    for number in range(3):
        old = keeper.pid
        replacing = asyncio.get_running_loop().create_task(keeper.replace())
        if number == 2:  # ends while nobody but the one who replaces holds its FIFOs
            short_out, _ = short.open()
            os.write(short_out, b"last words")
            short.close()
        counters = await keeper.statistics()
        await replacing
        assert keeper.pid != old
        assert set(counters) == {"c1", "short"}, "requests wait for the new keeper"
    await asyncio.to_thread(writer.join)
    pod.close()
    assert await keeper.drained("c1", 10)
    assert await keeper.drained("short", 10)
    content = b"".join(text + (b"\n" if tag == "F" else b"") for _, tag, text in pod.records())
    assert content.split() == lines
    assert [text for _, _, text in short.records()] == [b"last words"]
    assert keeper.restarts == 3


async def test_a_keeper_of_another_version_writes_on_until_it_is_replaced(pods, keepers, monkeypatch):
    pod = pods("c1")
    foreign = protocol.VERSION + 1
    program = f"from cri.logs import protocol, keeper; protocol.VERSION = {foreign}; keeper.main()"
    with monkeypatch.context() as of_the_other_version:
        of_the_other_version.setattr("cri.logs.client.VERSION", foreign)
        other = await keepers(lambda: [pod.followed], command=(sys.executable, "-c", program))
        await other.follow(pod.followed)
        old = other.pid
        await other.close()
    out, _ = pod.open()
    os.write(out, b"before\n")
    known: list[Followed] = []
    keeper = await keepers(lambda: known)
    assert keeper.pid == old, "who is to be followed is not known yet"
    os.write(out, b"meanwhile\n")
    await until(lambda: len(pod.records()) == 2, "it writes on")
    known.append(pod.followed)
    await keeper.resume()
    assert keeper.pid != old
    assert not keeper.outdated
    os.write(out, b"after\n")
    pod.close()
    assert await keeper.drained("c1", 10)
    assert [text for _, _, text in pod.records()] == [b"before", b"meanwhile", b"after"]
    assert keeper.restarts == 1


async def test_complaints_never_fail_and_are_bounded(tmp_path):
    script = (
        "import os\n"
        "from cri.logs.complaints import complain\n"
        "for _ in range(1000): complain('the \\udc80 reason')\n"
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)\n"
        "import cri.logs.complaints as c; c._said = 0\n"
        "complain('nobody hears')\n"
        "os.close(2); complain('nor this')\n"
    )
    done = await process.execute([sys.executable, "-c", script], timeout_seconds=20)
    assert done.status == 0
    assert 60 <= len(done.stderr.splitlines()) <= 120, "at most sixty a minute"


async def test_wrong_command_lines(tmp_path):
    from cri.logs.keeper import main

    assert main([]) == 2
    assert main(["--socket"]) == 2
    assert main(["--socket", str(tmp_path / "s"), "--loud"]) == 2


async def test_a_flood_does_not_starve_a_quiet_container_nor_the_requests(pods, keepers):
    keeper = await keepers()
    floods, quiet = [pods("flood-1"), pods("flood-2")], pods("quiet")
    stop = threading.Event()

    def flood(descriptor: int) -> None:
        block = (b"f" * 99 + b"\n") * 600
        while not stop.is_set():
            feed(descriptor, block)

    for pod in (*floods, quiet):
        discarded = pod is not quiet
        log = None if discarded else pod.log  # two floods at disk speed would fill it
        await keeper.follow(Followed(pod.id, pod.stdout, pod.stderr, log, terminal=False))
    writers = [threading.Thread(target=flood, args=(pod.open()[0],)) for pod in floods]
    out, _ = quiet.open()
    for writer in writers:
        writer.start()
    try:
        delays, answers = [], []
        for number in range(20):
            await asyncio.sleep(0.01)
            began = time.monotonic()
            os.write(out, b"%d\n" % number)
            await until(lambda number=number: len(quiet.records()) > number, "the quiet line is written")
            delays.append(time.monotonic() - began)
            began = time.monotonic()
            counters = await keeper.statistics()
            answers.append(time.monotonic() - began)
    finally:
        stop.set()
        for writer in writers:
            await asyncio.to_thread(writer.join)
    assert counters["flood-1"].bytes > 1_000_000
    assert sorted(delays)[10] < 0.1, f"quiet lines took {delays}"
    assert sorted(answers)[10] < 0.1, f"requests took {answers}"
