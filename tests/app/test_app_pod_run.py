"""The pod tool against a CRI server in memory: running, listing, logs, exec, removal."""

import asyncio
import io
from pathlib import Path

import grpc
import pytest
import yaml
from cri_double import served

from api.wire import criv1 as cri
from cri.app.pod.listing import age, pod_rows, table
from cri.app.pod.logs import LogReader, parse_record, print_log
from cri.app.pod.manifest import read_manifest
from cri.app.pod.node import connect, container_named
from cri.app.pod.remove import remove_pod
from cri.app.pod.run import run_pod
from cri.app.pod.steps import Steps
from cri.errors import AlreadyExists, FailedPrecondition, Internal, InvalidArgument, NotFound, Unavailable

MANIFEST = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {
        "terminationGracePeriodSeconds": 3,
        "initContainers": [{"name": "prepare", "image": "docker.io/library/busybox:1"}],
        "containers": [
            {
                "name": "server",
                "image": "example.org/server:1",
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            },
            {"name": "helper", "image": "docker.io/library/busybox:1"},
        ],
        "volumes": [{"name": "data", "emptyDir": {}}],
    },
}


@pytest.fixture
async def node(tmp_path):
    async with served(tmp_path) as (double, endpoint), connect(endpoint) as connected:
        double.exit_codes["prepare"] = 0
        yield double, connected


def pod_of(directory: Path, **metadata: str):
    manifest = {**MANIFEST, "metadata": {**MANIFEST["metadata"], **metadata}}
    return read_manifest(yaml.safe_dump(manifest), "uid-1", directory)


async def run(connected, pod, *, keep: bool = False) -> tuple[str, str]:
    out = io.StringIO()
    return await run_pod(connected, pod, Steps(out), keep=keep), out.getvalue()


async def test_a_pod_is_run_step_by_step(node, tmp_path):
    double, connected = node
    pod = pod_of(tmp_path / "pods")
    sandbox_id, shown = await run(connected, pod)
    lines = [line.split("s  ", 1)[1] for line in shown.splitlines()]
    containers = {each.metadata.name: each.id[:13] for each in double.containers.values()}
    assert lines == [
        "ok  image docker.io/library/busybox:1  present, 1.1 MB",
        "ok  image example.org/server:1  pulled, 2.0 MB",
        "ok  sandbox default/web  10.1.0.2 fd00::2",
        "ok  create prepare",
        f"ok  start prepare  {containers['prepare']}",
        "ok  init container prepare runs  exit code 0",
        "ok  create server",
        f"ok  start server  {containers['server']}",
        "ok  create helper",
        f"ok  start helper  {containers['helper']}",
    ]
    assert sandbox_id in double.sandboxes
    assert pod.paths.empty_dir("data").stat().st_mode & 0o777 == 0o777
    assert (pod.paths.logs / "server").is_dir()
    assert "10.1.0.2\tweb" in pod.paths.etc_hosts.read_text()


async def test_what_was_made_is_taken_back_when_a_step_fails(node, tmp_path):
    double, connected = node
    double.failing["StartContainer"] = grpc.StatusCode.UNKNOWN
    out = io.StringIO()
    with pytest.raises(Internal, match="StartContainer was told to fail"):
        await run_pod(connected, pod_of(tmp_path / "pods"), Steps(out))
    assert "failed  start prepare" in out.getvalue()
    assert double.sandboxes == {}
    assert double.names()[-2:] == ["StopPodSandbox", "RemovePodSandbox"]
    assert list((tmp_path / "pods").iterdir()) == []


async def test_a_cancelled_run_is_taken_back_too(node, tmp_path):
    double, connected = node
    double.exit_codes.clear()  # the init container never ends
    task = asyncio.get_running_loop().create_task(run(connected, pod_of(tmp_path / "pods")))
    async with asyncio.timeout(5):
        while "ContainerStatus" not in double.names():  # noqa: ASYNC110 - the double has no event for it
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert double.sandboxes == {}


async def test_keep_leaves_the_wreck(node, tmp_path):
    double, connected = node
    double.exit_codes["prepare"] = 3
    with pytest.raises(FailedPrecondition, match="init container prepare ended with exit code 3"):
        await run(connected, pod_of(tmp_path / "pods"), keep=True)
    assert len(double.sandboxes) == 1
    assert "server" not in {each.metadata.name for each in double.containers.values()}


async def test_a_namesake_is_refused(node, tmp_path):
    _double, connected = node
    await run(connected, pod_of(tmp_path / "pods"))
    with pytest.raises(AlreadyExists, match="cri-shim pod rm -n default web"):
        await run(connected, pod_of(tmp_path / "pods"))


async def test_an_absent_image_that_must_not_be_pulled(node, tmp_path):
    _double, connected = node
    manifest = yaml.safe_load(yaml.safe_dump(MANIFEST))
    manifest["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    pod = read_manifest(yaml.safe_dump(manifest), "u", tmp_path / "pods")
    with pytest.raises(NotFound, match="imagePullPolicy is Never"):
        await run(connected, pod)


async def test_removal_gives_containers_their_grace_and_clears_the_directory(node, tmp_path):
    double, connected = node
    pod = pod_of(tmp_path / "pods")
    await run(connected, pod)
    await remove_pod(connected, await connected.find_pod("web", "default"))
    stops = [request for name, request in double.calls if name == "StopContainer"]
    assert [request.timeout for request in stops] == [3, 3], "the manifest's grace, only for what runs"
    assert double.sandboxes == {}
    assert not pod.paths.directory.exists()


async def test_pods_are_found_by_name_or_id(node, tmp_path):
    _double, connected = node
    first, _ = await run(connected, pod_of(tmp_path / "pods"))
    second, _ = await run(connected, pod_of(tmp_path / "pods", name="other", namespace="shop"))
    assert (await connected.find_pod("web", "default")).id == first
    assert (await connected.find_pod("other", "shop")).id == second
    assert (await connected.find_pod(second, "default")).id == second
    with pytest.raises(NotFound, match='no pod "other" in namespace "default"'):
        await connected.find_pod("other", "default")
    with pytest.raises(InvalidArgument, match="beginning of 2 pod ids"):
        await connected.find_pod("000", "default")


async def test_the_list(node, tmp_path):
    _double, connected = node
    sandbox_id, _ = await run(connected, pod_of(tmp_path / "pods"))
    (row,) = await pod_rows(connected)
    assert row == (
        "web",
        "default",
        "ready",
        "0s",
        "10.1.0.2,fd00::2",
        "prepare:exited server:running helper:running",
        sandbox_id[:13],
    )
    assert table([("A", "BB"), ("ccc", "d")]) == "A    BB\nccc  d"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (59, "59s"), (61, "1m"), (7300, "2h"), (200000, "2d")]
)
def test_ages(seconds, text):
    assert age(seconds) == text


async def test_no_server_is_said_in_words(tmp_path):
    async with connect(f"{tmp_path}/none.sock") as connected:
        with pytest.raises(Unavailable, match="no CRI server answers at"):
            await connected.pods({})


def test_choosing_a_container():
    made = [
        cri.Container(id=identifier, metadata=cri.ContainerMetadata(name=name))
        for identifier, name in (("1", "a"), ("2", "b"), ("3", "a"))
    ]
    assert container_named(made, "a").id == "3", "the newest of that name"
    assert container_named(made[:1], None).id == "1"
    with pytest.raises(InvalidArgument, match="there are: a, b"):
        container_named(made, None)
    with pytest.raises(NotFound, match='no container "c"; there are: a, b'):
        container_named(made, "c")


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (b"2026-11-21T20:00:00.000000000Z stdout F a b", (b"stdout", b"a b\n")),
        (b"2026-11-21T20:00:00.000000000Z stderr P part", (b"stderr", b"part")),
        (b"2026-11-21T20:00:00.000000000Z stdout F ", (b"stdout", b"\n")),
        (b"2026-11-21T20:00:00.000000000Z stdout P:x y", (b"stdout", b"y")),
        (b"rubbish", None),
    ],
)
def test_records(line, record):
    assert parse_record(line) == record


def test_the_log_reader_survives_rotation(tmp_path):
    path = tmp_path / "0.log"
    with LogReader(path) as reader:
        assert reader.read() == [], "not there yet"
        path.write_bytes(b"t stdout F one\nt stdout F tw")
        assert reader.read() == [(b"stdout", b"one\n")], "an unfinished record waits"
        with path.open("ab") as log:
            log.write(b"o\nt stderr F three\n")
        path.rename(tmp_path / "0.log.1")
        assert reader.read() == [(b"stdout", b"two\n"), (b"stderr", b"three\n")]
        path.write_bytes(b"t stdout F four\n")
        assert reader.read() == [(b"stdout", b"four\n")]
        assert reader.read() == []


async def test_logs_are_followed_until_the_container_ends(node, tmp_path):
    double, connected = node
    await run(connected, pod_of(tmp_path / "pods"))
    server = next(each for each in double.containers.values() if each.metadata.name == "server")
    path = Path(server.log_path)
    path.write_bytes(b"t stdout F one\nt stderr F oops\nt stdout F two\n")
    out, err = io.BytesIO(), io.BytesIO()
    await print_log(connected, server.id, out, err, follow=False, tail=None)
    assert (out.getvalue(), err.getvalue()) == (b"one\ntwo\n", b"oops\n")
    out = io.BytesIO()
    await print_log(connected, server.id, out, io.BytesIO(), follow=False, tail=1)
    assert out.getvalue() == b"two\n"
    server.state = cri.CONTAINER_EXITED
    out = io.BytesIO()
    await print_log(connected, server.id, out, io.BytesIO(), follow=True, tail=None)
    assert out.getvalue() == b"one\ntwo\n"


async def test_steps_on_a_terminal_count_while_they_run():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    steps = Steps(out)
    with pytest.raises(KeyError):
        async with steps.step("first"):
            await asyncio.sleep(0)
            raise KeyError("x")
    async with steps.step("second") as step:
        step.result = "done"
    shown = out.getvalue()
    assert "…  first" in shown, "shown before it ends"
    assert "✗\x1b[0m  first\n" in shown
    assert "✓\x1b[0m  second  done\n" in shown
