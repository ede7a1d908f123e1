"""Labels and categories of pods, where SELinux is on and where it is off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from api.wire import criv1
from cri.container.handlers import Handler
from cri.container.selinux import Selinux, relabel_all
from cri.errors import InvalidArgument, ResourceExhausted
from cri.oci.handler import RuntimeHandler
from cri.oci.selinux import PolicyContexts, SelinuxLabels
from cri.state.records import SandboxRecord
from cri.state.sandbox import Sandbox

RUNC = Handler("runc", RuntimeHandler("runc"), None, "overlayfs")
KATA = Handler("kata", RuntimeHandler("kata", runtime_type="io.containerd.kata.v2"), None, "overlayfs")


def pod(**options: str) -> criv1.PodSandboxConfig:
    config = criv1.PodSandboxConfig()
    if options:
        config.linux.security_context.selinux_options.CopyFrom(criv1.SELinuxOption(**options))
    return config


def container(**options: str) -> criv1.ContainerConfig:
    config = criv1.ContainerConfig()
    if options:
        config.linux.security_context.selinux_options.CopyFrom(criv1.SELinuxOption(**options))
    return config


def sandbox(label: str) -> Sandbox:
    record = SandboxRecord("0" * 64, "name", criv1.PodSandboxConfig(), "", "")
    return Sandbox(replace(record, process_label=label))


def test_without_selinux_nothing_is_labelled_and_nonsense_is_still_refused():
    off = Selinux()
    assert off.sandbox_labels(pod(level="s0:c1,c2"), RUNC, ()) == SelinuxLabels()
    assert off.container_labels(container(type="spc_t"), RUNC, "") == SelinuxLabels()
    with pytest.raises(InvalidArgument, match="level"):
        off.sandbox_labels(pod(level="secret"), RUNC, ())


def test_every_pod_has_categories_of_its_own():
    on = Selinux(PolicyContexts(), category_range=3)
    made: list[Sandbox] = []
    for _ in range(3):
        made.append(sandbox(on.sandbox_labels(pod(), RUNC, made).process))
    levels = {each.record.process_label.partition("s0:")[2] for each in made}
    assert levels == {"c0,c1", "c0,c2", "c1,c2"}
    with pytest.raises(ResourceExhausted):
        on.sandbox_labels(pod(), RUNC, made)


def test_containers_share_the_labels_of_their_pod_unless_they_ask():
    on = Selinux(PolicyContexts())
    label = on.sandbox_labels(pod(level="s0:c5,c7"), RUNC, ()).process
    assert label == "system_u:system_r:container_t:s0:c5,c7"
    inherited = on.container_labels(container(), RUNC, label)
    assert inherited == SelinuxLabels(label, "system_u:object_r:container_file_t:s0:c5,c7")
    own = on.container_labels(container(type="spc_t"), RUNC, label)
    assert own.process == "system_u:system_r:spc_t:s0:c5,c7"
    assert on.container_labels(container(), RUNC, "") == SelinuxLabels(), "of a privileged pod"


def test_virtual_machines_have_a_type_of_their_own():
    label = Selinux(PolicyContexts()).sandbox_labels(pod(level="s0:c5,c7"), KATA, ()).process
    assert label == "system_u:system_r:container_kvm_t:s0:c5,c7"


async def test_the_hosts_own_directories_are_never_relabelled(tmp_path):
    (tmp_path / "link").symlink_to("/etc")
    labels = SelinuxLabels("p", "system_u:object_r:container_file_t:s0")
    await relabel_all([tmp_path / "link"], SelinuxLabels())
    with pytest.raises(InvalidArgument, match="selinux_relabel"):
        await relabel_all([tmp_path / "link"], labels)
