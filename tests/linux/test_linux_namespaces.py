"""Pinned namespaces on the real kernel."""

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest

from cri.linux import namespaces
from cri.linux.mounts import is_mount_point
from cri.linux.namespaces import (
    Interior,
    NamespaceSet,
    create_network_namespace,
    inside_network_namespace,
    is_namespace,
    pin_namespaces,
    remove_network_namespace,
    sysctl_path,
    unpin_namespaces,
)

HERE = Path("/proc/thread-self/ns/net")


@pytest.fixture
async def netns(tmp_path):
    path = tmp_path / "netns"
    await create_network_namespace(path)
    yield path
    await remove_network_namespace(path)


def sysctl(name: str) -> str:
    return sysctl_path(name).read_text()


def loopback_answers() -> bool:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        return True


async def test_a_new_namespace_is_pinned_with_loopback_up(netns):
    assert is_namespace(netns)
    assert await inside_network_namespace(netns, loopback_answers)
    assert await inside_network_namespace(netns, lambda: [name for _, name in socket.if_nameindex()]) == [
        "lo"
    ]


async def test_nobody_else_changes_namespace(netns):
    ours = os.readlink(HERE)
    threads = {thread.ident for thread in threading.enumerate()}
    inside = await inside_network_namespace(netns, lambda: os.readlink(HERE))
    assert inside != ours
    assert os.readlink(HERE) == ours
    assert await asyncio.to_thread(os.readlink, HERE) == ours
    left = [t for t in threading.enumerate() if t.ident not in threads and t.name.startswith("netns")]
    for thread in left:
        thread.join(5)
        assert not thread.is_alive(), "a thread inside a namespace must end"


async def test_a_socket_stays_in_the_namespace_it_was_opened_in(netns):
    def listen() -> socket.socket:
        return socket.create_server(("127.0.0.1", 0))

    with await inside_network_namespace(netns, listen) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=2)
        await inside_network_namespace(netns, lambda: socket.create_connection(("127.0.0.1", port)).close())


async def test_removal_is_idempotent_at_every_stage(tmp_path):
    path = tmp_path / "sub" / "netns"
    path.parent.mkdir()
    await remove_network_namespace(path)
    await create_network_namespace(path)
    await remove_network_namespace(path)
    assert not path.exists()
    assert not is_namespace(path)
    await remove_network_namespace(path)
    path.parent.rmdir()
    await remove_network_namespace(path)


async def test_a_lost_mount_is_not_a_namespace(tmp_path):
    path = tmp_path / "netns"
    path.touch()
    assert not is_namespace(path)
    assert not is_namespace(tmp_path / "missing")
    with pytest.raises(OSError, match="netns"):
        await inside_network_namespace(path, lambda: None)
    with pytest.raises(FileNotFoundError):
        await inside_network_namespace(tmp_path / "missing", lambda: None)
    await remove_network_namespace(path)
    assert not path.exists()


async def test_a_taken_path_is_refused_and_left_alone(netns):
    inode = os.stat(netns).st_ino
    with pytest.raises(FileExistsError):
        await create_network_namespace(netns)
    assert os.stat(netns).st_ino == inode


async def test_three_namespaces_at_once_with_hostname_and_sysctls(tmp_path):
    pinned = NamespaceSet(tmp_path / "net", tmp_path / "ipc", tmp_path / "uts")
    names = ("net.ipv4.ip_unprivileged_port_start", "kernel.msgmax", "kernel.hostname")
    host = {name: sysctl(name) for name in names}
    await pin_namespaces(
        pinned,
        Interior(
            "pod-a",
            {"net.ipv4.ip_unprivileged_port_start": "0", "kernel/msgmax": "4096", "kernel.shmmni": "77"},
        ),
    )
    try:
        assert all(is_namespace(path) for _, _, path in pinned.pins)

        def look() -> tuple[str, str, str]:
            from cri.linux import syscalls

            for _, flag, path in pinned.pins:
                descriptor = os.open(path, os.O_RDONLY)
                syscalls.setns(descriptor, flag)
                os.close(descriptor)
            values = ("net/ipv4/ip_unprivileged_port_start", "kernel/msgmax")
            return (socket.gethostname(), *(Path("/proc/sys", v).read_text().strip() for v in values))

        assert await namespaces.in_own_thread("look", look) == ("pod-a", "0", "4096")
        for name, value in host.items():
            assert sysctl(name) == value, f"{name} of the host changed"
    finally:
        await unpin_namespaces(pinned)
    assert not list(tmp_path.iterdir())


async def test_half_a_set_is_undone(tmp_path):
    (tmp_path / "uts").write_text("taken")
    pinned = NamespaceSet(tmp_path / "net", tmp_path / "ipc", tmp_path / "uts")
    with pytest.raises(FileExistsError):
        await pin_namespaces(pinned)
    assert [path.name for path in tmp_path.iterdir()] == ["uts"]
    assert (tmp_path / "uts").read_text() == "taken"


@pytest.mark.parametrize(
    "name", ["kernel.msgmax", "vm.swappiness", "kernel.hostname", "kernel/../vm/swappiness", "kernel.panic"]
)
async def test_a_sysctl_that_would_change_the_host_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="sysctl"):
        await pin_namespaces(NamespaceSet(network=tmp_path / "net"), Interior(sysctls={name: "1"}))
    assert not list(tmp_path.iterdir())


async def test_a_refused_sysctl_value_is_named_and_nothing_stays(tmp_path):
    with pytest.raises(OSError, match=r"net\.ipv4\.ip_forward to 'yes'"):
        await pin_namespaces(
            NamespaceSet(network=tmp_path / "net"), Interior(sysctls={"net.ipv4.ip_forward": "yes"})
        )
    assert not list(tmp_path.iterdir())


async def test_a_hostname_needs_its_namespace(tmp_path):
    with pytest.raises(ValueError, match="UTS"):
        await pin_namespaces(NamespaceSet(network=tmp_path / "net"), Interior(hostname="x"))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/mtu", "net/ipv4/conf/eth0.1/mtu"),
        ("net.ipv4.conf.eth0/1.mtu", "net/ipv4/conf/eth0.1/mtu"),
    ],
)
def test_sysctl_names(name, path):
    assert sysctl_path(name) == Path("/proc/sys", path)


@pytest.mark.parametrize("name", ["", ".", "net..x", "net/../../etc/passwd", "/net/ipv4", "net.ipv4."])
def test_malformed_sysctl_names(name):
    with pytest.raises(ValueError, match="malformed"):
        sysctl_path(name)


async def test_twenty_at_once(tmp_path):
    paths = [tmp_path / str(number) for number in range(20)]
    async with asyncio.TaskGroup() as group:
        for path in paths:
            group.create_task(create_network_namespace(path))
    assert len({os.stat(path).st_ino for path in paths}) == 20
    async with asyncio.TaskGroup() as group:
        for path in paths:
            group.create_task(remove_network_namespace(path))
    assert not any(is_mount_point(path) for path in paths)
