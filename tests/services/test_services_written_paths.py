"""Whatever names and paths a request has: files are written below the configured roots and the log directory only."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.cri import CriClient, CriError
from api.wire import criv1
from tests.node import IMAGE, DoubleNode
from tests.services.written_paths import written_paths

PIECES = st.sampled_from(
    [
        "a",
        "..",
        ".",
        "",
        "etc",
        "link",
        "out",
        "%s",
        "~",
        "$HOME",
        "a b",
        "é",
        "x" * 256,
        "\0",
        "\n",
        "-",
        "*",
        "0.log",
    ]
)
PATHS = st.lists(PIECES, min_size=1, max_size=5).map("/".join)
NAMES = st.one_of(PATHS, PATHS.map(lambda path: f"/{path}"), st.text(max_size=20))


def pods(base: Path) -> st.SearchStrategy[criv1.PodSandboxConfig]:
    """Pods whose every name is hostile; `base` has links that lead out of it."""

    def made(name: str, namespace: str, uid: str, hostname: str, directory: str) -> criv1.PodSandboxConfig:
        return criv1.PodSandboxConfig(
            metadata=criv1.PodSandboxMetadata(name=name, namespace=namespace, uid=uid),
            hostname=hostname,
            log_directory=directory,
            linux=criv1.LinuxPodSandboxConfig(),
        )

    below = PATHS.map(lambda path: f"{base}/logs/{path}")
    return st.builds(made, NAMES, NAMES, NAMES, st.one_of(st.just("web"), NAMES), below)


def containers(image: str) -> st.SearchStrategy[criv1.ContainerConfig]:
    def made(name: str, log_path: str, mount: str, directory: str) -> criv1.ContainerConfig:
        return criv1.ContainerConfig(
            metadata=criv1.ContainerMetadata(name=name),
            image=criv1.ImageSpec(image=image),
            command=["serve"],
            log_path=log_path,
            working_dir=directory,
            mounts=[criv1.Mount(container_path=mount, host_path="/usr")],
        )

    rooted = PATHS.map(lambda path: f"/{path}")
    return st.builds(made, NAMES, NAMES, rooted, rooted)


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
async def test_nothing_is_written_elsewhere(
    node: DoubleNode, cri: CriClient, tmp_path: Path, data: st.DataObject
):
    logs = tmp_path / "logs"
    if not logs.exists():
        (tmp_path / "outside").mkdir()
        (logs / "a").mkdir(parents=True)
        for place in (logs, logs / "a"):
            (place / "link").symlink_to(tmp_path / "outside")
    pod, container = data.draw(pods(tmp_path)), data.draw(containers(IMAGE))
    with written_paths() as written:
        await life_of_a_pod(cri, pod, container)
        await node.settled()
    paths = node.pods.engine.paths
    allowed = (paths.root, paths.state, node.containerd.directory, Path("/dev"), Path("/proc"))
    outside = {
        path
        for path in written
        if not any(path.is_relative_to(root.resolve()) for root in allowed)
        and not path.is_relative_to(logs)
        and not is_own_cgroup(path)
        and "__pycache__" not in path.parts
    }
    # A log directory that lies behind a link is the kubelet's choice; what is below it is not.
    given_places = {path for path in outside if path.is_relative_to(tmp_path / "outside")}
    assert outside == given_places, f"written outside: {sorted(outside - given_places)}"
    node.assert_nothing_left()


def is_own_cgroup(path: Path) -> bool:
    """A pod's or container's, which a removal takes away in every tree where runc has left it."""
    return (
        path.is_relative_to("/sys/fs/cgroup")
        and re.fullmatch("k8s.io/[0-9a-f]{64}", "/".join(path.parts[-2:])) is not None
    )


async def life_of_a_pod(
    cri: CriClient, pod: criv1.PodSandboxConfig, container: criv1.ContainerConfig
) -> None:
    """As far as the server goes along."""
    runtime = cri.runtime
    try:
        made = await runtime.RunPodSandbox(criv1.RunPodSandboxRequest(config=pod))
    except CriError:
        return
    try:
        created = await runtime.CreateContainer(
            criv1.CreateContainerRequest(pod_sandbox_id=made.pod_sandbox_id, config=container)
        )
        await runtime.StartContainer(criv1.StartContainerRequest(container_id=created.container_id))
    except CriError:
        pass
    finally:
        await cri.remove_sandbox(made.pod_sandbox_id)


async def test_a_link_in_the_log_directory_is_not_followed(node: DoubleNode, cri: CriClient, tmp_path: Path):
    config = node.pod_config()
    (tmp_path / "outside").mkdir()
    Path(config.log_directory).mkdir(parents=True)
    (Path(config.log_directory) / "app").symlink_to(tmp_path / "outside")
    pod = (await cri.runtime.RunPodSandbox(criv1.RunPodSandboxRequest(config=config))).pod_sandbox_id
    container = node.container_config(log_path="app/deeper/0.log")
    made = await cri.runtime.CreateContainer(
        criv1.CreateContainerRequest(pod_sandbox_id=pod, config=container)
    )
    call = cri.runtime.StartContainer(criv1.StartContainerRequest(container_id=made.container_id))
    assert (await call.code()).name == "FAILED_PRECONDITION"
    assert "app/deeper/0.log" in await call.details()
    assert not list((tmp_path / "outside").iterdir())
    await cri.remove_sandbox(pod)
