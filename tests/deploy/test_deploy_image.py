"""The manifests that bring the image to nodes: one pod, whose command is understood."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import yaml

from cri.app.contained.commands import install
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


def test_a_static_pod_is_what_the_daemonset_would_run():
    fleet, single = pod("daemonset.yaml"), pod("static-pod.yaml")
    fleet.pop("tolerations")
    assert fleet == single
