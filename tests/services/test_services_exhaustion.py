"""Something of the node's has run out: the client is told what and what helps, and nothing half-made stays."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import threading
from collections.abc import Iterator

import grpc
import grpc.aio
import pytest

from api.containerd import errors as containerd
from api.cri import CriClient
from api.wire import criv1
from cri.services.errors import EXHAUSTED, status_of
from tests.node import DoubleNode

EXHAUSTED_CODE = grpc.StatusCode.RESOURCE_EXHAUSTED


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """This process has as many files open as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


async def test_too_many_open_files(node: DoubleNode, cri: CriClient):
    request = criv1.RunPodSandboxRequest(config=node.pod_config())
    await cri.runtime.Version(criv1.VersionRequest())  # which opens the connection
    with no_more_files(), pytest.raises(grpc.aio.AioRpcError) as refused:
        await cri.runtime.RunPodSandbox(request)
    assert refused.value.code() is EXHAUSTED_CODE
    assert "LimitNOFILE" in str(refused.value.details())
    await node.janitor.sweep()
    node.assert_nothing_left()
    pod = (await cri.runtime.RunPodSandbox(request)).pod_sandbox_id
    await node.sandboxes.remove(pod)


async def test_no_more_threads(node: DoubleNode, cri: CriClient, monkeypatch: pytest.MonkeyPatch):
    """Where the cgroup's limit on tasks is reached, or the kernel's."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "namespace-pin":
            raise RuntimeError("can't start new thread")
        start(thread)

    request = criv1.RunPodSandboxRequest(config=node.pod_config())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await cri.runtime.RunPodSandbox(request)
    assert refused.value.code() is EXHAUSTED_CODE
    assert "TasksMax" in str(refused.value.details())
    await node.janitor.sweep()
    node.assert_nothing_left()


async def test_containerds_disk_is_full(node: DoubleNode, cri: CriClient):
    """What it says then is unknown to it, and clear to us; the pod is undone, and made when there is space again."""
    request = criv1.RunPodSandboxRequest(config=node.pod_config())
    words = "write /var/lib/containerd/meta.db: no space left on device: unknown"
    for method in ("Containers.Create", "Snapshots.Prepare", "Tasks.Create", "Containers.Update"):
        node.containerd.fail(method, grpc.StatusCode.UNKNOWN, words)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await cri.runtime.RunPodSandbox(request)
        assert refused.value.code() is EXHAUSTED_CODE, method
        assert "free space" in str(refused.value.details())
        node.assert_nothing_left()
    pod = (await cri.runtime.RunPodSandbox(request)).pod_sandbox_id
    await node.sandboxes.remove(pod)


@pytest.mark.parametrize("number", EXHAUSTED, ids=errno.errorcode.get)
def test_the_kernels_words_in_whatever_clothes(number: int):
    words = os.strerror(number)
    for error in (OSError(number, words, "/run/x"), containerd.Unknown(f"runc: fork/exec: {words.lower()}")):
        code, message = status_of(error)
        assert code is EXHAUSTED_CODE
        assert EXHAUSTED[number] in message


def test_other_errors_are_what_they_were():
    assert status_of(OSError(errno.EIO, "I/O error"))[0] is grpc.StatusCode.INTERNAL
    assert status_of(RuntimeError("dictionary changed"))[0] is grpc.StatusCode.INTERNAL
    assert status_of(containerd.Unknown("OCI runtime create failed"))[0] is grpc.StatusCode.INTERNAL
