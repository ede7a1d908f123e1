"""The manifests that bring the image to nodes: one pod, whose command is understood; and what the image is made of."""

from __future__ import annotations

import importlib.util
import io
import py_compile
import tarfile
from pathlib import Path

import click
import pytest
import yaml

from api.wire import criv1
from cri.app import commands
from cri.app.config.configuration import Configuration
from cri.app.contained.commands import install
from cri.app.pod.manifest import read_manifest
from cri.observe.versions import version_of

IMAGE = Path(__file__).parents[2] / "deploy" / "image"


def pod(name: str) -> dict:
    manifest = yaml.safe_load((IMAGE / name).read_text())
    return manifest["spec"]["template"]["spec"] if manifest["kind"] == "DaemonSet" else manifest["spec"]


@pytest.mark.parametrize("name", ["daemonset.yaml", "static-pod.yaml"])
def test_the_command_installs_the_pods_own_image(name: str):
    (step,) = pod(name)["initContainers"]
    assert step["command"][:3] == ["cri-shim", "contained", "install"]
    context: click.Context = install.make_context("install", step["command"][3:])
    assert context.params["image"] == step["image"]
    assert context.params["namespace"] == "k8s.io", "where the kubelet's pulls go"
    assert step["image"].endswith(f":{version_of('cri-shim')}")


@pytest.mark.parametrize("name", ["daemonset.yaml", "static-pod.yaml"])
def test_what_the_pod_names_is_there(name: str):
    """The command line knows the server's options, containerd's socket is in the pod, and the probe asks the server."""
    spec = pod(name)
    (step,), (watch,) = spec["initContainers"], spec["containers"]
    installing = install.make_context("install", step["command"][3:]).params
    commands.serve.make_context("serve", list(installing["arguments"]))
    volumes = {each["name"]: each["hostPath"] for each in spec["volumes"]}
    mounted = {each["mountPath"]: volumes.pop(each["name"])["path"] for each in step["volumeMounts"]}
    assert mounted == {str(Path(installing["address"]).parent): str(Path(installing["address"]).parent)}
    assert not volumes, "a volume that nobody mounts"
    probe = watch["readinessProbe"]["httpGet"]
    assert f"{probe['host']}:{probe['port']}" == Configuration().metrics.address


def test_what_cri_shim_pod_makes_of_it(tmp_path: Path):
    """As the kubelet would: on the host's network, among its processes, the installing container privileged."""
    manifest = yaml.safe_load((IMAGE / "static-pod.yaml").read_text())
    del manifest["spec"]["containers"][0]["readinessProbe"]  # which it refuses, as it does not ask probes
    plan = read_manifest(yaml.safe_dump(manifest), "uid", tmp_path)
    assert plan.host_network
    assert plan.sandbox.linux.security_context.namespace_options.pid == criv1.NODE
    (step,) = plan.init_containers
    assert step.config.linux.security_context.privileged
    assert [each.host_path for each in step.config.mounts] == ["/run/containerd"]


def test_a_static_pod_is_what_the_daemonset_would_run():
    fleet, single = pod("daemonset.yaml"), pod("static-pod.yaml")
    fleet.pop("tolerations")
    assert fleet == single


def archive_script():
    specification = importlib.util.spec_from_file_location("archive", IMAGE / "archive.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("mode", "stale"),
    [
        (py_compile.PycInvalidationMode.TIMESTAMP, ["./opt/__pycache__/some.cpython-311.pyc"]),
        (py_compile.PycInvalidationMode.UNCHECKED_HASH, []),
    ],
)
def test_compiled_modules_that_python_would_pass_over_are_named(tmp_path: Path, mode, stale):
    source = tmp_path / "opt" / "some.py"
    source.parent.mkdir()
    source.write_text("answer = 42\n")
    compiled = source.parent / "__pycache__" / "some.cpython-311.pyc"
    py_compile.compile(str(source), str(compiled), invalidation_mode=mode)

    def without_time(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = 0  # as build.sh has it, for the same bytes from the same sources
        return member

    root = io.BytesIO()
    with tarfile.open(fileobj=root, mode="w") as archive:
        archive.add(tmp_path, ".", filter=without_time)

    assert archive_script().stale_bytecode(root.getvalue()) == stale
