"""Requests that nobody sends in good faith: each is refused with the right code, or harmless, and leaves nothing."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from api.cri import CriClient, CriError
from api.wire import criv1
from tests.node import DoubleNode

MEBIBYTE = 1 << 20
REFUSED = grpc.StatusCode.INVALID_ARGUMENT
CONTROL = ("a\0b", "a\nb", "a\x1b[31mb", "a\x7fb")


def setting(path: str, value: object) -> Callable[[object], None]:
    """Sets one field, named by its path, of a configuration."""

    def change(config: object) -> None:
        *way, last = path.split(".")
        for step in way:
            config = getattr(config, step)
        if isinstance(value, (list, dict)):
            filled = getattr(config, last)
            (filled.update if isinstance(value, dict) else filled.extend)(value)
        else:
            setattr(config, last, value)

    return change


def named(cases: list[tuple[str, object]]) -> list[object]:
    return [pytest.param(path, value, id=f"{path}={str(value)[:20]!r}") for path, value in cases]


HOSTILE_PODS: list[tuple[str, object]] = [
    *((f"metadata.{field}", text) for field in ("name", "namespace", "uid") for text in CONTROL),
    *((f"metadata.{field}", "x" * size) for field in ("name", "uid") for size in (2000, 10 * MEBIBYTE)),
    *(
        ("log_directory", text)
        for text in ("relative", "/var/../../etc", "/proc/self/nowhere", "/" + "d" * 5000)
    ),
    *(("log_directory", f"/tmp/{text}") for text in CONTROL),
    *(("hostname", text) for text in (*CONTROL, "h" * 65, "h" * 10 * MEBIBYTE)),
    ("annotations", {"a": "x" * 10 * MEBIBYTE}),
    ("labels", {f"label-{number}": "" for number in range(100_000)}),
    ("port_mappings", [criv1.PortMapping(container_port=1, host_port=1)] * 100_000),
    ("dns_config.servers", ["192.0.2.1"] * 100_000),
    ("dns_config.servers", ["192.0.2.1\nnameserver 192.0.2.2"]),
    *(("linux.cgroup_parent", text) for text in ("/../../x", "/a:b", "/a\0b", "/a\nb")),
    *(("linux.sysctls", {name: "1"}) for name in ("../../etc/x", "kernel/../x", "net.\0", "kernel.modprobe")),
]


@pytest.mark.parametrize(("path", "value"), named(HOSTILE_PODS))
async def test_a_hostile_pod_is_refused(node: DoubleNode, cri: CriClient, path: str, value: object):
    config = node.pod_config()
    setting(path, value)(config)
    with pytest.raises(CriError) as error:
        await cri.runtime.RunPodSandbox(criv1.RunPodSandboxRequest(config=config))
    assert error.value.code() is REFUSED, error.value.details()
    assert path.rpartition(".")[2] in error.value.details() or "config: " in error.value.details()
    node.assert_nothing_left()


HOSTILE_CONTAINERS: list[tuple[str, object]] = [
    *(("metadata.name", text) for text in (*CONTROL, "x" * 2000, "x" * 10 * MEBIBYTE)),
    *(("image.image", text) for text in (*CONTROL, "x" * 10 * MEBIBYTE)),
    *(
        ("log_path", text)
        for text in ("../out.log", "/etc/out.log", ".", "a/../../out.log", "n" * 300, *CONTROL)
    ),
    ("mounts", [criv1.Mount(container_path=f"/m{number}", host_path="/tmp") for number in range(100_000)]),
    *(("mounts", [criv1.Mount(container_path=path, host_path="/tmp")]) for path in ("/a\0b", "a/b", "")),
    *(
        ("mounts", [criv1.Mount(container_path="/m", host_path=path)])
        for path in ("/a\0b", "a/b", "/" + "a" * 5000)
    ),
    ("devices", [criv1.Device(container_path="/dev/x", host_path="/dev/null")] * 100_000),
    *(
        ("devices", [criv1.Device(container_path="/dev/x", host_path=path)])
        for path in ("/a\0b", "/etc/passwd")
    ),
    ("envs", [criv1.KeyValue(key=f"K{number}") for number in range(100_000)]),
    *(("envs", [criv1.KeyValue(key=key)]) for key in ("", "a=b", "a\0b")),
    ("envs", [criv1.KeyValue(key="k", value=b"a\0b")]),
    ("args", ["a\0b"]),
    ("args", ["a" * 10 * MEBIBYTE]),
    *(("working_dir", text) for text in ("/a\0b", "a/b")),
    ("stop_signal", 99),
    *(("CDI_devices", [criv1.CDIDevice(name=name)]) for name in ("../../x=y", "a/b=c\0", "no")),
    *(("linux.security_context.run_as_username", text) for text in ("ro\0ot", "../x", "x" * 10 * MEBIBYTE)),
    ("linux.security_context.masked_paths", ["/a\0b"]),
    ("linux.security_context.readonly_paths", ["a/../b"]),
    ("linux.resources.unified", {"../../x": "1"}),
    ("linux.resources.cpuset_cpus", "0\n../../x"),
    ("linux.resources.memory_limit_in_bytes", -(2**63)),
]


@pytest.mark.parametrize(("path", "value"), named(HOSTILE_CONTAINERS))
async def test_a_hostile_container_is_refused(node: DoubleNode, cri: CriClient, path: str, value: object):
    pod = await node.sandboxes.run(node.pod_config(), "")
    config = node.container_config()
    setting(path, value)(config)
    with pytest.raises(CriError) as error:
        await cri.runtime.CreateContainer(criv1.CreateContainerRequest(pod_sandbox_id=pod, config=config))
    assert error.value.code() is REFUSED, error.value.details()
    assert not list(node.node.containers)
    await node.sandboxes.remove(pod)
    node.assert_nothing_left()


@pytest.mark.parametrize(
    ("path", "value"),
    named(
        [
            ("annotations", {"a": "x" * MEBIBYTE}),
            ("annotations", {"../../etc/x": "y"}),
            ("labels", {"a\0b": "c\nd"}),
            ("metadata.name", "../../etc/passwd"),
            ("metadata.namespace", "/etc"),
            ("metadata.attempt", 2**32 - 1),
        ]
    ),
)
async def test_what_is_odd_but_harmless_is_accepted(
    node: DoubleNode, cri: CriClient, path: str, value: object
):
    config = node.pod_config()
    setting(path, value)(config)
    made = await cri.runtime.RunPodSandbox(criv1.RunPodSandboxRequest(config=config))
    status = await cri.runtime.PodSandboxStatus(
        criv1.PodSandboxStatusRequest(pod_sandbox_id=made.pod_sandbox_id)
    )
    assert status.status.metadata == config.metadata
    await cri.remove_sandbox(made.pod_sandbox_id)
    node.assert_nothing_left()


@pytest.mark.parametrize(
    "text", ["a\0b", "../../x", "x" * 10 * MEBIBYTE, "\U0001f4a9" * 5000], ids=lambda text: text[:8]
)
async def test_an_absurd_identifier_is_not_found(cri: CriClient, text: str):
    with pytest.raises(CriError) as error:
        await cri.container_status(text)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND, error.value.details()
    with pytest.raises(CriError) as error:
        await cri.runtime.CheckpointContainer(
            criv1.CheckpointContainerRequest(container_id=text, location="/tmp/x")
        )
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    await cri.remove_sandbox(text)
    await cri.image.RemoveImage(criv1.RemoveImageRequest(image=criv1.ImageSpec(image=text)))
    answer = await cri.image.ImageStatus(criv1.ImageStatusRequest(image=criv1.ImageSpec(image=text)))
    assert not answer.HasField("image")


@pytest.mark.parametrize("text", ["a\0b", "../../x", "x" * 10 * MEBIBYTE], ids=lambda text: text[:8])
async def test_an_absurd_reference_is_refused_before_anything_is_fetched(cri: CriClient, text: str):
    request = criv1.PullImageRequest(image=criv1.ImageSpec(image=f"localhost:1/{text}"))
    with pytest.raises(CriError) as error:
        await cri.image.PullImage(request)
    assert error.value.code() is REFUSED, error.value.details()


@pytest.mark.parametrize(
    "cidr", ["a\0b", "../../x", "x" * 10 * MEBIBYTE, "10.0.0.0/8," * 1000], ids=lambda text: text[:8]
)
async def test_absurd_pod_cidrs(cri: CriClient, cidr: str):
    network = criv1.NetworkConfig(pod_cidr=cidr)
    request = criv1.UpdateRuntimeConfigRequest(runtime_config=criv1.RuntimeConfig(network_config=network))
    assert await cri.runtime.UpdateRuntimeConfig(request).code() in (REFUSED, grpc.StatusCode.OK)
