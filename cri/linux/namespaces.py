"""Namespaces without a process: made by a thread that ends, held by a bind mount of their /proc file.

unshare(2) and setns(2) act on the calling thread only, so everything here runs in a thread of its own that
ends after (`threads.in_own_thread`), never in a pool. Files below /proc/sys/net and the System V sysctls show
and set the namespaces of the thread that opens them, which is how sysctls are written from inside.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from cri.linux import syscalls as sys
from cri.linux.mounts import unmount
from cri.linux.threads import in_own_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1

_IPC_SYSCTLS: Final = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
_UTS_SYSCTLS: Final = ("kernel.hostname", "kernel.domainname")


@dataclass(frozen=True, slots=True)
class NamespaceSet:
    """Where the pinned namespaces of one sandbox are mounted; None stands for the host's own."""

    network: Path | None = None
    ipc: Path | None = None
    uts: Path | None = None

    @property
    def pins(self) -> tuple[tuple[str, int, Path], ...]:
        """`(name below /proc/PID/ns, clone flag, path)` of those that are set."""
        kinds = (
            ("net", sys.CLONE_NEWNET, self.network),
            ("ipc", sys.CLONE_NEWIPC, self.ipc),
            ("uts", sys.CLONE_NEWUTS, self.uts),
        )
        return tuple((name, flag, path) for name, flag, path in kinds if path is not None)


class SysctlError(OSError):
    """The kernel refuses a value; the text names both."""


@dataclass(frozen=True, slots=True)
class Interior:
    """What is set inside of new namespaces, each of which must be in their set."""

    hostname: str | None = None
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Values by name, with dots or slashes."""
    sysfs: Path | None = None
    """Where to mount the network namespace's sysfs, writable. One serves the whole namespace, and whoever mounts it
    first decides for all others whether it can be written at all."""


NOTHING_SET: Final = Interior()


async def create_network_namespace(path: Path) -> None:
    """Make a network namespace with loopback up and pin it on `path`, a new file in an existing directory.

    Raises FileExistsError when `path` is taken, OSError otherwise; nothing is left behind then.
    """
    await pin_namespaces(NamespaceSet(network=path))


async def remove_network_namespace(path: Path) -> None:
    """Unpin the namespace and remove its file. Success too when the mount, the file or the directory is gone.

    The kernel ends the namespace as soon as no process and no socket is in it.
    """
    await in_own_thread("netns-remove", lambda: unpin(path))


async def pin_namespaces(namespaces: NamespaceSet, interior: Interior = NOTHING_SET) -> None:
    """Make all namespaces of the set at once, set `interior` in them, pin each on its path.

    On any error every path is free again. Raises FileExistsError when a path is taken, SysctlError, and ValueError like
    `check_interior`.
    """
    check_interior(namespaces, interior)

    def work() -> None:
        sys.unshare(sum(flag for _, flag, _ in namespaces.pins))
        furnish(namespaces, interior)
        with contextlib.ExitStack() as undo:
            for name, _, path in namespaces.pins:
                pin(f"/proc/thread-self/ns/{name}", path)
                undo.callback(unpin, path)
            if interior.sysfs is not None:
                sys.mount("sysfs", interior.sysfs, "sysfs", sys.MS_NOSUID | sys.MS_NODEV | sys.MS_NOEXEC)
            undo.pop_all()

    await in_own_thread("namespace-pin", work)


def pin(namespace: str, path: Path) -> None:
    """Hold a namespace, named by its /proc file, by a mount on `path`, a new file. Blocking; undone on any error."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        sys.mount(namespace, path, None, sys.MS_BIND)
    except BaseException:
        unpin(path)
        raise


def unpin(path: Path) -> None:
    """Remove a pin and its file; success too when the mount, the file or the directory is gone. Blocking."""
    unmount(path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)


def check_interior(namespaces: NamespaceSet, interior: Interior) -> None:
    """Raise ValueError for anything in `interior` that would change the host, as its namespace is not in the set."""
    if interior.hostname is not None and namespaces.uts is None:
        raise ValueError("a hostname needs a UTS namespace of its own")
    if interior.sysfs is not None and namespaces.network is None:
        raise ValueError("a sysfs shows a network namespace, which must be in the set")
    for name in interior.sysctls:
        _check_owner(name, namespaces)


def furnish(namespaces: NamespaceSet, interior: Interior) -> None:
    """Bring up loopback and set host name and sysctls, in a thread that is in the namespaces. Raises SysctlError."""
    if namespaces.network is not None:
        bring_up("lo")
    if interior.hostname is not None:
        socket.sethostname(interior.hostname)
    for name, value in interior.sysctls.items():
        _write_sysctl(name, value)


async def unpin_namespaces(namespaces: NamespaceSet) -> None:
    """Remove all pins of the set; idempotent like `remove_network_namespace`."""

    def work() -> None:
        for _, _, path in namespaces.pins:
            unpin(path)

    await in_own_thread("namespace-unpin", work)


def is_namespace(path: Path) -> bool:
    """Whether a namespace is pinned here; False also when the file is missing or its mount is lost."""
    try:
        return sys.filesystem_magic(path) == sys.NSFS_MAGIC
    except OSError:
        return False


async def inside_network_namespace(path: Path, function: Callable[[], T]) -> T:
    """Run `function` in the network namespace pinned at `path`; sockets that it opens stay in there.

    Also takes /proc/PID/ns/net. See `inside`.
    """
    return await inside(NamespaceSet(network=path), function)


async def inside(namespaces: NamespaceSet, function: Callable[[], T]) -> T:
    """Run `function` in a thread that has entered the pinned namespaces.

    It blocks only its own thread, and needs its own time limits: a cancelled caller waits for its end. Raises
    FileNotFoundError when a namespace is gone.
    """

    def work() -> T:
        for _, flag, path in namespaces.pins:
            _enter(path, flag)
        return function()

    return await in_own_thread("namespace-inside", work)


def _enter(path: Path, flag: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sys.setns(descriptor, flag)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(descriptor)


def sysctl_path(name: str) -> Path:
    """The file below /proc/sys of a sysctl named with dots or slashes (sysctl.d(5)).

    The first separator decides: after a dot, a slash stands for a dot in a name (`net.ipv4.conf.eth0/1.mtu`).
    Raises ValueError for a name that leads elsewhere.
    """
    first = next((character for character in name if character in "./"), "/")
    parts = name.split("/") if first == "/" else [part.replace("/", ".") for part in name.split(".")]
    if not all(parts) or any(part in (".", "..") for part in parts):
        raise ValueError(f"malformed sysctl name {name!r}")
    return Path("/proc/sys", *parts)


def _check_owner(name: str, namespaces: NamespaceSet) -> None:
    dotted = ".".join(sysctl_path(name).parts[3:])
    if dotted.startswith("net."):
        owner = namespaces.network
    elif dotted.startswith(_IPC_SYSCTLS):
        owner = namespaces.ipc
    elif dotted in _UTS_SYSCTLS:
        owner = namespaces.uts
    else:
        raise ValueError(f"sysctl {name!r} belongs to no namespace and would change the host")
    if owner is None:
        raise ValueError(f"sysctl {name!r} would change the host: its namespace is the host's own")


def _write_sysctl(name: str, value: str) -> None:
    path = sysctl_path(name)
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:  # write errors carry no path
        raise SysctlError(
            error.errno, f"cannot set sysctl {name} to {value!r}: {error.strerror}", str(path)
        ) from None


def bring_up(interface: str) -> None:
    """Set a network interface of the calling thread's namespace up. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH22x", interface.encode(), 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(control, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", interface.encode(), flags | _IFF_UP))
