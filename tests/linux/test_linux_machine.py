"""What the kernel says about this process: capabilities, boot, cgroups."""

import os
import subprocess
import uuid
from pathlib import Path

from cri.linux import boot, capabilities, cgroups
from cri.linux.mounts import _parse


def test_capabilities():
    known = capabilities.kernel_capabilities()
    assert {"CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_SYSLOG"} <= known
    assert capabilities.effective() <= known
    assert "CAP_SYS_ADMIN" in capabilities.effective(), "these tests run as root"
    assert len(capabilities.NAMES) == len(set(capabilities.NAMES)) == 41
    assert capabilities.NAMES[21] == "CAP_SYS_ADMIN"
    assert capabilities.NAMES[40] == "CAP_CHECKPOINT_RESTORE"


def test_boot_id_is_a_uuid():
    assert str(uuid.UUID(boot.boot_id())) == boot.boot_id()


def test_this_process_is_in_its_cgroups():
    assert "memory" in cgroups.controllers()
    own = cgroups.cgroup_of(os.getpid())
    directory = own[""] if cgroups.version() == 2 else own["memory"]
    assert str(os.getpid()) in (directory / "cgroup.procs").read_text().split()


def test_oom_kills_are_counted_while_the_process_lives():
    child = subprocess.Popen(["sleep", "100"])
    counter = cgroups.OomCounter.of(child.pid)
    assert cgroups.oom_kills(child.pid) is not None
    child.kill()
    child.wait()
    assert counter is not None
    assert counter.kills() is not None, "the counter outlives the process"
    assert cgroups.OomCounter.of(child.pid) is None
    assert cgroups.oom_kills(child.pid) is None


def test_counter_files_of_both_versions(tmp_path):
    v1, v2 = tmp_path / "memory.oom_control", tmp_path / "memory.events"
    v1.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    v2.write_text("low 0\nhigh 0\nmax 5\noom 3\noom_kill 3\noom_group_kill 0\n")
    assert cgroups.OomCounter(v1).kills() == 2
    assert cgroups.OomCounter(v2).kills() == 3
    v1.write_text("oom_kill_disable 0\nunder_oom 0\n")
    assert cgroups.OomCounter(v1).kills() is None, "kernels before 4.13 do not count"
    assert cgroups.OomCounter(tmp_path / "gone").kills() is None


def test_version_2_counts_a_kill_above_too_where_the_count_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "version", lambda: 2)
    pod, container = tmp_path / "memory.events", tmp_path / "container/memory.events"
    pod.write_text("oom 4\noom_kill 4\n")
    counter = cgroups.OomCounter(container, above_before=4)
    assert (counter.kills(), counter.kills_above()) == (None, 0)
    pod.write_text("oom 5\noom_kill 5\n")
    assert (counter.kills(), counter.kills_above()) == (None, 1)
    monkeypatch.setattr(cgroups, "version", lambda: 1)
    assert counter.kills_above() == 0


def test_a_mount_that_shows_a_part_of_the_tree():
    part = _parse("1 2 0:3 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n")
    assert cgroups._below(part, "/docker/abc/pod/ctr") == Path("/sys/fs/cgroup/memory/pod/ctr")
    assert cgroups._below(part, "/docker/abc") == Path("/sys/fs/cgroup/memory")
    whole = _parse("1 2 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    assert cgroups._below(whole, "/kubepods/pod") == Path("/sys/fs/cgroup/kubepods/pod")


def test_the_options_of_the_unified_tree(monkeypatch):
    line = (
        "1 2 0:3 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
    )
    monkeypatch.setattr(cgroups, "_hierarchies", lambda: {"": _parse(line)})
    monkeypatch.setattr(cgroups, "version", lambda: 2)
    assert cgroups.unified_options() == ("rw", "nsdelegate", "memory_recursiveprot")
    monkeypatch.setattr(cgroups, "version", lambda: 1)
    assert cgroups.unified_options() == (), "a hybrid's tree is not what containers are given"
