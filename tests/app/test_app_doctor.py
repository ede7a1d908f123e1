"""The doctor's rules: which facts make which findings, and that every finding says what to do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.containerd.introspection import DIFFER, GRPC, SNAPSHOTTER, Plugin
from cri.app.commands import run
from cri.app.doctor.facts import (
    CgroupFacts,
    ClockFacts,
    CniFacts,
    ContainerdFacts,
    DnsFacts,
    Facts,
    FilesystemFacts,
    HandlerFacts,
    KernelFacts,
    NetworkFacts,
    PortFacts,
    ProcessFacts,
    RegistryFacts,
    SecurityFacts,
)
from cri.app.doctor.finding import Level
from cri.app.doctor.judge_kernel import NEEDED_CONTROLLERS, NEEDED_NAMESPACES
from cri.app.doctor.observe_machine import dns_facts
from cri.app.doctor.observe_services import shim_program
from cri.app.doctor.report import as_json, as_text, findings

GIBIBYTE = 1 << 30
PLUGINS = (Plugin(SNAPSHOTTER, "overlayfs"), Plugin(DIFFER, "walking"))
CNI = CniFacts(
    "/etc/cni/net.d", ("/usr/lib/cni",), {"/etc/cni/net.d/10.conflist": ("bridge", "portmap")}, (), ""
)
DISK = FilesystemFacts("root", "/var/lib/cri-shim", 100 * GIBIBYTE, 50 * GIBIBYTE, 1000, 900, read_only=False)
SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
    "fs.inotify.max_user_instances": "8192",
    "fs.inotify.max_user_watches": "1048576",
    "kernel.pid_max": "4194304",
}
WELL = Facts(
    kernel=KernelFacts("6.1.0", (6, 1), frozenset({"overlay"}), NEEDED_NAMESPACES, True, 65536, SYSCTLS),
    cgroups=CgroupFacts(2, NEEDED_CONTROLLERS | {"hugetlb"}, True, True, ("runc",), ()),
    process=ProcessFacts(0, (), -999, -1, False),
    containerd=ContainerdFacts("/run/containerd/containerd.sock", "", "2.1.0", PLUGINS),
    snapshotter="overlayfs",
    allow_builtin_cri=False,
    handlers=(
        HandlerFacts(
            "runc", "io.containerd.runc.v2", "overlayfs", "containerd-shim-runc-v2", "/usr/bin/shim", "runc",
            "/usr/sbin/runc", "runc version 1.2.0", recursive_read_only=True, user_namespaces=True,
        ),
    ),
    network=NetworkFacts((CNI,), "iptables v1.8.9 (nf_tables)", "nftables v1.0.6"),
    filesystems=(DISK,),
    clock=ClockFacts(2e9, True, 1e9),
    dns=DnsFacts("/etc/resolv.conf", ("192.0.2.1",), ()),
    security=SecurityFacts(False, False, False, False, False, False),
)  # fmt: skip
KERNEL, CGROUPS, PROCESS, CONTAINERD, HANDLER = (
    WELL.kernel, WELL.cgroups, WELL.process, WELL.containerd, WELL.handlers[0],
)  # fmt: skip


def test_a_good_node_has_no_findings() -> None:
    assert findings(WELL) == []
    assert as_text(WELL, []).endswith("no findings")


BOTH = (*PLUGINS, Plugin(GRPC, "cri"))
BRIDGED = "net.bridge.bridge-nf-call-iptables"


def with_kernel(**changes: Any) -> Facts:
    return replace(WELL, kernel=replace(KERNEL, **changes))


def with_cgroups(**changes: Any) -> Facts:
    return replace(WELL, cgroups=replace(CGROUPS, **changes))


def with_process(**changes: Any) -> Facts:
    return replace(WELL, process=replace(PROCESS, **changes))


def with_containerd(**changes: Any) -> Facts:
    return replace(WELL, containerd=replace(CONTAINERD, **changes))


def with_handler(**changes: Any) -> Facts:
    return replace(WELL, handlers=(replace(HANDLER, **changes),))


def with_cni(**changes: Any) -> Facts:
    return replace(WELL, network=replace(WELL.network, cni=(replace(CNI, **changes),)))


CASES: list[tuple[Facts, Level, str]] = [
    (with_kernel(version=(4, 4), release="4.4"), Level.BROKEN, "older than 4.19"),
    (with_kernel(namespaces=frozenset({"pid"})), Level.BROKEN, "no ipc, mnt, net, uts namespaces"),
    (with_kernel(seccomp=False), Level.LIMITED, "no seccomp"),
    (with_kernel(user_namespaces=0), Level.LIMITED, "no user namespace"),
    (with_kernel(sysctls=SYSCTLS | {"kernel.pid_max": "32768"}), Level.LIMITED, "kernel.pid_max is 32768"),
    (with_kernel(sysctls=SYSCTLS | {"net.ipv4.ip_forward": "0"}), Level.BROKEN, "ip_forward is 0"),
    (with_kernel(sysctls={"net.ipv4.ip_forward": "1"}), Level.LIMITED, "br_netfilter is not loaded"),
    (with_kernel(sysctls=SYSCTLS | {BRIDGED: "0"}), Level.LIMITED, "bridge-nf-call-iptables is 0"),
    (with_cgroups(version=1), Level.LIMITED, "version 1"),
    (with_cgroups(writable=False), Level.BROKEN, "cannot be written"),
    (with_cgroups(controllers=frozenset({"cpu", "hugetlb"})), Level.BROKEN, "no controller memory, pids"),
    (with_cgroups(controllers=NEEDED_CONTROLLERS), Level.NOTE, "no controller hugetlb"),
    (with_cgroups(systemd=False), Level.BROKEN, "systemd does not run this machine"),
    (with_cgroups(systemd_handlers=(), cgroupfs_handlers=("runc",)), Level.LIMITED, "systemd owns the tree"),
    (with_process(user=1000), Level.BROKEN, "runs as user 1000"),
    (with_process(missing_capabilities=("CAP_SYS_ADMIN",)), Level.BROKEN, "misses CAP_SYS_ADMIN"),
    (with_process(missing_capabilities=("CAP_SYS_RESOURCE",)), Level.LIMITED, "misses CAP_SYS_RESOURCE"),
    (with_process(missing_capabilities=("CAP_BPF",)), Level.LIMITED, "misses CAP_BPF"),
    (with_process(in_user_namespace=True), Level.LIMITED, "user namespace"),
    (with_process(open_files=1024), Level.LIMITED, "may open 1024 files"),
    (
        replace(WELL, containerd=ContainerdFacts("/run/c.sock", "no such socket")),
        Level.BROKEN,
        "/run/c.sock: no such socket",
    ),
    (with_containerd(version="1.5.9"), Level.BROKEN, "older than 1.6"),
    (with_containerd(plugins=BOTH), Level.BROKEN, "CRI plugin is loaded"),
    (replace(with_containerd(plugins=BOTH), allow_builtin_cri=True), Level.LIMITED, "CRI plugin is loaded"),
    (with_containerd(plugins=PLUGINS[1:]), Level.BROKEN, "snapshotter overlayfs is not there"),
    (with_containerd(plugins=PLUGINS[:1]), Level.BROKEN, "no differ"),
    (with_containerd(deprecations=("old key",)), Level.NOTE, "old key"),
    (with_handler(shim_path=None), Level.BROKEN, "containerd-shim-runc-v2 is not in PATH"),
    (with_handler(binary_path=None), Level.BROKEN, "runc is not there"),
    (with_handler(version="runc version 1.0.3"), Level.LIMITED, "1.0.3"),
    (with_handler(recursive_read_only=False), Level.LIMITED, "recursive read-only"),
    (with_handler(user_namespaces=False), Level.LIMITED, "no user namespaces"),
    (with_cni(networks={}, obstacle="no file"), Level.BROKEN, "no file"),
    (with_cni(problems=("/etc/cni/net.d/x.conf: bad",)), Level.LIMITED, "x.conf: bad"),
    (replace(WELL, network=replace(WELL.network, iptables=None)), Level.BROKEN, "no iptables"),
    (
        replace(WELL, network=replace(WELL.network, iptables="iptables v1.8.9 (legacy)")),
        Level.NOTE,
        "beside nft",
    ),
    (
        replace(WELL, network=NetworkFacts((replace(CNI, networks={"a": ("macvlan",)}),), None, None)),
        Level.LIMITED,
        "neither",
    ),
    (replace(WELL, filesystems=(replace(DISK, read_only=True),)), Level.BROKEN, "read-only"),
    (
        replace(WELL, filesystems=(replace(DISK, available_bytes=GIBIBYTE),)),
        Level.LIMITED,
        "1.0 GiB (1%) free",
    ),
    (replace(WELL, filesystems=(replace(DISK, available_bytes=0),)), Level.BROKEN, "0.0 GiB"),
    (replace(WELL, filesystems=(replace(DISK, inodes_free=1),)), Level.LIMITED, "1 of 1000 inodes"),
    (replace(WELL, clock=replace(WELL.clock, now=1.0)), Level.BROKEN, "before the day"),
    (replace(WELL, clock=replace(WELL.clock, synchronized=False)), Level.LIMITED, "nobody keeps the clock"),
    (replace(WELL, dns=replace(WELL.dns, nameservers=())), Level.LIMITED, "names no server"),
    (replace(WELL, dns=replace(WELL.dns, nameservers=("127.0.0.53",))), Level.LIMITED, "127.0.0.53"),
    (replace(WELL, dns=replace(WELL.dns, nameservers=("a", "b", "c", "d"))), Level.NOTE, "4 servers"),
    (
        replace(WELL, security=replace(WELL.security, enable_selinux=True)),
        Level.BROKEN,
        "SELinux is not enabled",
    ),
    (
        replace(WELL, security=replace(WELL.security, selinux=True)),
        Level.LIMITED,
        "enable_selinux is not set",
    ),
    (
        replace(WELL, security=replace(WELL.security, selinux=True, enable_selinux=True)),
        Level.BROKEN,
        "no policy",
    ),
    (replace(WELL, security=replace(WELL.security, apparmor=True)), Level.LIMITED, "apparmor_parser"),
    (
        replace(WELL, security=replace(WELL.security, apparmor=True, disable_apparmor=True)),
        Level.NOTE,
        "switched off",
    ),
    (
        replace(WELL, ports=(PortFacts("metrics", "127.0.0.1:1338", "in use", "x"),)),
        Level.BROKEN,
        "127.0.0.1:1338: in use",
    ),
    (
        replace(WELL, registries=(RegistryFacts("registry.example", "no such name"),)),
        Level.BROKEN,
        "no such name",
    ),
]


@pytest.mark.parametrize(("facts", "level", "words"), CASES, ids=[case[2] for case in CASES])
def test_each_fault_makes_one_finding_with_a_remedy(facts: Facts, level: Level, words: str) -> None:
    matching = [finding for finding in findings(facts) if words in finding.what]
    assert [finding.level for finding in matching] == [level], findings(facts)
    assert all(finding.why and finding.remedy for finding in matching)


def test_the_worst_comes_first_and_json_says_the_same() -> None:
    facts = replace(
        WELL,
        clock=replace(WELL.clock, synchronized=False),
        containerd=replace(CONTAINERD, version="1.5.9", deprecations=("old",)),
    )
    found = findings(facts)
    assert [finding.level for finding in found] == [Level.BROKEN, Level.LIMITED, Level.NOTE]
    document = json.loads(as_json(facts, found))
    assert [item["level"] for item in document["findings"]] == ["broken", "limited", "note"]
    assert set(document["findings"][0]) == {"level", "area", "what", "why", "remedy"}
    assert "1 broken, 1 limited, 1 note" in as_text(facts, found)


def test_the_resolver_file_is_read_as_the_c_library_does(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "# a comment\nnameserver 192.0.2.1\nsearch old\nsearch a.example b.example\noptions ndots:5\n"
    )
    assert dns_facts(file) == DnsFacts(str(file), ("192.0.2.1",), ("a.example", "b.example"))
    assert dns_facts(tmp_path / "missing").nameservers == ()


@pytest.mark.parametrize(
    ("runtime_type", "program"),
    [
        ("io.containerd.runc.v2", "containerd-shim-runc-v2"),
        ("io.containerd.kata.v2", "containerd-shim-kata-v2"),
        ("/opt/shim", "/opt/shim"),
        ("odd", "odd"),
    ],
)
def test_shim_programs_are_named_as_containerd_names_them(runtime_type: str, program: str) -> None:
    assert shim_program(runtime_type) == program


def test_the_command_finds_an_absent_containerd(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "none.sock"
    assert run(["doctor", "--json", "--containerd", str(socket)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert any(f"{socket}: no such socket" in item["what"] for item in document["findings"])
