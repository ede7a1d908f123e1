"""Seccomp, AppArmor, SELinux, masked paths, no_new_privs and privilege."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.wire import criv1
from cri.errors import InvalidArgument, ResourceExhausted
from cri.oci import apparmor, selinux
from cri.oci.capabilities import NAMES
from cri.oci.defaults import CAPABILITIES, MASKED_PATHS
from cri.oci.host import HostFacts
from cri.oci.seccomp import default_profile, local_profile, profile_path
from cri.oci.selinux import PolicyContexts, SelinuxLabels
from cri.oci.settings import OciSettings

RUNTIME_DEFAULT = criv1.SecurityProfile.RuntimeDefault
UNCONFINED = criv1.SecurityProfile.Unconfined
LOCALHOST = criv1.SecurityProfile.Localhost
KERNEL = (6, 1)


def allowed(profile):
    """Names that some rule allows without a condition on arguments."""
    return {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }


@pytest.fixture
def context(config):
    return config.linux.security_context


@pytest.fixture
def privileged(config, pod):
    config.linux.security_context.privileged = pod.linux.security_context.privileged = True


class TestSeccomp:
    def test_unset_means_none_unless_configured(self, build_container):
        assert "seccomp" not in build_container()["linux"]
        configured = OciSettings(unset_seccomp_profile="runtime/default")
        assert "seccomp" in build_container(settings=configured)["linux"]

    def test_runtime_default(self, build_container, context):
        context.seccomp.profile_type = RUNTIME_DEFAULT
        profile = build_container()["linux"]["seccomp"]
        assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
        assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
        assert {"read", "chroot", "ptrace", "arch_prctl"} <= allowed(profile)
        assert not {"mount", "bpf", "reboot", "clone", "userfaultfd", "keyctl"} & allowed(profile)

    def test_rules_follow_the_containers_own_capabilities(self, build_container, context):
        context.seccomp.profile_type = RUNTIME_DEFAULT
        context.capabilities.drop_capabilities.append("SYS_CHROOT")
        context.capabilities.add_capabilities.append("SYS_ADMIN")
        profile = build_container()["linux"]["seccomp"]
        assert {"mount", "clone", "clone3", "unshare"} <= allowed(profile)
        assert "chroot" not in allowed(profile)

    def test_old_kernels_do_not_trace(self):
        assert "ptrace" not in allowed(default_profile(CAPABILITIES, "x86_64", (4, 7)))

    def test_architectures(self):
        assert "riscv_hwprobe" in allowed(default_profile((), "riscv64", KERNEL))
        arm = default_profile((), "aarch64", KERNEL)
        assert "cacheflush" in allowed(arm)
        assert "arch_prctl" not in allowed(arm)
        s390 = [
            rule for rule in default_profile((), "s390x", KERNEL)["syscalls"] if rule["names"] == ["clone"]
        ]
        assert [rule["args"][0]["index"] for rule in s390] == [1]
        assert "architectures" not in default_profile((), "unheard-of", KERNEL)

    def test_clone3_is_unknown_rather_than_refused(self):
        rules = default_profile(CAPABILITIES, "x86_64", KERNEL)["syscalls"]
        assert {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38} in rules

    def test_every_system_call_is_listed_once(self):
        names = [
            name
            for rule in default_profile((), "x86_64", KERNEL)["syscalls"]
            if not rule.get("args")
            for name in rule["names"]
        ]
        assert len(names) == len(set(names))

    @given(st.frozensets(st.sampled_from(NAMES)))
    def test_more_capabilities_never_allow_less(self, capabilities):
        fewer = allowed(default_profile((), "x86_64", KERNEL))
        assert fewer <= allowed(default_profile(capabilities, "x86_64", KERNEL))

    def test_localhost(self, build_container, context):
        context.seccomp.profile_type, context.seccomp.localhost_ref = LOCALHOST, "/profiles/a.json"
        content = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": None}],
        }
        profile = build_container(seccomp_profile=json.dumps(content).encode())["linux"]["seccomp"]
        del content["syscalls"][0]["args"]
        assert profile == content
        assert profile_path(context, OciSettings()) == "/profiles/a.json"
        with pytest.raises(InvalidArgument, match=r"/profiles/a\.json"):
            build_container()

    def test_the_form_of_container_tools(self):
        content = {
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": None}],
            "syscalls": [
                {"name": "old", "action": "SCMP_ACT_ALLOW", "includes": {}, "excludes": {}},
                {"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL"]}},
                {"names": ["b"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
                {"names": ["c"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
            ],
        }
        host = HostFacts(1, (), (), "x86_64", KERNEL)
        profile = local_profile("f", json.dumps(content).encode(), {"CAP_CHOWN"}, host)
        assert profile["architectures"] == ["SCMP_ARCH_X86_64"]
        assert allowed(profile) == {"old"}

    @pytest.mark.parametrize(
        "content",
        [b"", b"{}", b"[1]", b"\xff", b'{"defaultAction": 1}', b'{"defaultAction":"A","syscalls":[{}]}'],
    )
    def test_what_is_no_profile_is_refused(self, build_container, context, content):
        context.seccomp.profile_type, context.seccomp.localhost_ref = LOCALHOST, "/p"
        with pytest.raises(InvalidArgument, match="localhost_ref: /p"):
            build_container(seccomp_profile=content)

    @pytest.mark.parametrize(("kind", "reference"), [(LOCALHOST, ""), (UNCONFINED, "x"), (9, "")])
    def test_contradictions_are_refused(self, build_container, context, kind, reference):
        context.seccomp.profile_type, context.seccomp.localhost_ref = kind, reference
        with pytest.raises(InvalidArgument, match="seccomp"):
            build_container()

    @pytest.mark.parametrize(
        ("text", "path"),
        [("unconfined", None), ("runtime/default", None), ("docker/default", None), ("localhost//p", "/p")],
    )
    def test_the_older_field(self, context, text, path):
        context.seccomp_profile_path = text
        assert profile_path(context, OciSettings()) == path

    def test_an_unknown_older_value_is_refused(self, build_container, context):
        context.seccomp_profile_path = "nonsense"
        with pytest.raises(InvalidArgument, match="seccomp_profile_path"):
            build_container()

    def test_a_kernel_without_seccomp(self, build_container, context, host):
        without = replace(host, seccomp=False)
        context.seccomp.profile_type = UNCONFINED
        assert "seccomp" not in build_container(host=without)["linux"]
        context.seccomp.profile_type = RUNTIME_DEFAULT
        with pytest.raises(InvalidArgument, match="not supported"):
            build_container(host=without)

    @pytest.mark.usefixtures("privileged")
    def test_privileged_has_none(self, build_container, context):
        context.seccomp.profile_type = RUNTIME_DEFAULT
        assert "seccomp" not in build_container()["linux"]

    def test_the_sandbox_has_its_own(self, build_sandbox, pod):
        assert "seccomp" not in build_sandbox()["linux"]
        pod.linux.security_context.seccomp.profile_type = RUNTIME_DEFAULT
        assert "read" in allowed(build_sandbox()["linux"]["seccomp"])


class TestAppArmor:
    def profile(self, context, enabled=True, settings=None, loaded=()):
        host = HostFacts(1, (), (), "x86_64", KERNEL, apparmor=enabled)
        return apparmor.container_profile(context, host, settings or OciSettings(), loaded)

    def test_the_default_where_it_is_there(self, context):
        assert self.profile(context) == apparmor.DEFAULT_PROFILE
        assert self.profile(context, enabled=False) is None
        assert self.profile(context, settings=OciSettings(disable_apparmor=True)) is None

    def test_unconfined(self, context):
        context.apparmor.profile_type = UNCONFINED
        assert self.profile(context) is None
        assert self.profile(context, enabled=False) is None

    def test_a_loaded_profile(self, context):
        context.apparmor.profile_type, context.apparmor.localhost_ref = LOCALHOST, "localhost/mine"
        assert self.profile(context, loaded={"mine"}) == "mine"
        with pytest.raises(InvalidArgument, match="'mine' must be a loaded profile"):
            self.profile(context)

    def test_the_older_field(self, context):
        context.apparmor_profile = "localhost/mine"
        assert self.profile(context, loaded={"mine"}) == "mine"
        context.apparmor_profile = "mine"
        with pytest.raises(InvalidArgument, match="apparmor_profile"):
            self.profile(context)

    @pytest.mark.parametrize("settings", [OciSettings(), OciSettings(disable_apparmor=True)])
    def test_a_profile_without_apparmor_is_refused(self, context, settings):
        context.apparmor.profile_type = RUNTIME_DEFAULT
        with pytest.raises(InvalidArgument, match="AppArmor is"):
            self.profile(context, enabled=bool(settings.disable_apparmor), settings=settings)

    def test_privileged_runs_without_the_default_but_with_its_own(self, context):
        context.privileged = True
        assert self.profile(context) is None
        context.apparmor.profile_type, context.apparmor.localhost_ref = LOCALHOST, "mine"
        assert self.profile(context, loaded={"mine"}) == "mine"

    def test_it_reaches_the_spec(self, build_container, host):
        process = build_container(host=replace(host, apparmor=True))["process"]
        assert process["apparmorProfile"] == apparmor.DEFAULT_PROFILE

    def test_the_sandbox_has_one_only_if_asked(self, build_sandbox, pod, host):
        there = replace(host, apparmor=True)
        assert "apparmorProfile" not in build_sandbox(host=there)["process"]
        pod.linux.security_context.apparmor.profile_type = RUNTIME_DEFAULT
        assert build_sandbox(host=there)["process"]["apparmorProfile"] == apparmor.DEFAULT_PROFILE
        with pytest.raises(InvalidArgument, match="apparmor"):
            build_sandbox()

    def test_the_default_profile_is_loaded_when_needed(self, context, host):
        there = replace(host, apparmor=True)
        assert apparmor.needs_default_profile(context, there, OciSettings())
        assert not apparmor.needs_default_profile(context, host, OciSettings())
        context.privileged = True
        assert not apparmor.needs_default_profile(context, there, OciSettings())

    def test_the_text_of_the_default_profile(self):
        text = apparmor.default_profile_text("some.profile", "containerd")
        assert "profile some.profile flags=" in text
        assert "peer=containerd," in text
        assert text.count("{") == text.count("}")


class TestSelinux:
    POLICY = PolicyContexts()

    def test_labels_from_options(self):
        options = criv1.SELinuxOption(type="spc_t", level="s0:c1,c2")
        assert selinux.compose(options, self.POLICY, "s0:c5,c6") == SelinuxLabels(
            "system_u:system_r:spc_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"
        )
        assert selinux.compose(None, self.POLICY, "s0:c5,c6").process.endswith("container_t:s0:c5,c6")

    @pytest.mark.parametrize("level", ["s0", "s0-s1", "s0:c1", "s0:c1,c2", "s0:c1.c5,c9", "s0-s0:c0.c1023"])
    def test_levels(self, level):
        assert selinux.compose(criv1.SELinuxOption(level=level), self.POLICY, "").process.endswith(level)

    @pytest.mark.parametrize(
        "options", [{"level": "c1"}, {"level": "s0:c1,c2 "}, {"user": "a:b"}, {"type": "\0"}, {"role": ":"}]
    )
    def test_malformed_options(self, options):
        with pytest.raises(InvalidArgument, match="selinux_options"):
            selinux.compose(criv1.SELinuxOption(**options), self.POLICY, "s0")

    def test_containers_inherit_from_their_sandbox(self):
        labels = selinux.inherited("u:r:spc_t:s0:c1,c2", self.POLICY)
        assert labels == SelinuxLabels("u:r:spc_t:s0:c1,c2", "u:object_r:container_file_t:s0:c1,c2")

    def test_the_policys_contexts(self):
        policy = selinux.parse_policy_contexts(
            'process = "a:b:c:s0"\nfile = "a:object_r:f:s0"\n kvm_process = "a:b:kvm:s0"\nbad line\n'
        )
        assert str(policy.process) == "a:b:c:s0"
        assert selinux.for_vm("a:b:c:s0:c1,c2", policy) == "a:b:kvm:s0:c1,c2"
        assert selinux.parse_policy_contexts("") == PolicyContexts()

    @given(st.integers(2, 9), st.integers(0, 10**9))
    def test_every_pod_gets_a_pair_of_its_own(self, categories, start):
        taken: set[str] = set()
        for _ in range(categories * (categories - 1) // 2):
            level = selinux.free_level(start, taken, categories)
            assert level not in taken
            assert selinux.reserved_level(f"u:r:t:{level}") == level
            low, high = (int(part.lstrip("c")) for part in level.removeprefix("s0:").split(","))
            assert 0 <= low < high < categories
            taken.add(level)
        with pytest.raises(ResourceExhausted, match="selinux_category_range"):
            selinux.free_level(start, taken, categories)

    def test_labels_reach_the_specs(self, build_container, build_sandbox):
        labels = SelinuxLabels("u:r:t:s0:c1,c2", "u:object_r:f:s0:c1,c2")
        for spec in (build_container(labels=labels), build_sandbox(labels=labels)):
            assert spec["process"]["selinuxLabel"] == labels.process
            assert spec["linux"]["mountLabel"] == labels.mount

    @pytest.mark.usefixtures("privileged")
    def test_privileged_processes_are_not_labelled(self, build_container, build_sandbox):
        labels = SelinuxLabels("u:r:t:s0:c1,c2", "u:object_r:f:s0:c1,c2")
        for spec in (build_container(labels=labels), build_sandbox(labels=labels)):
            assert "selinuxLabel" not in spec["process"]


class TestPaths:
    def test_the_request_says_which(self, build_container, context):
        assert build_container()["linux"]["maskedPaths"] == []
        context.masked_paths.append("/proc/kcore")
        context.readonly_paths.append("/proc/sys")
        linux = build_container()["linux"]
        assert (linux["maskedPaths"], linux["readonlyPaths"]) == (["/proc/kcore"], ["/proc/sys"])

    def test_relative_ones_are_refused(self, build_container, context):
        context.readonly_paths.append("proc")
        with pytest.raises(InvalidArgument, match="readonly_paths"):
            build_container()

    def test_the_configuration_may_keep_the_defaults(self, build_container):
        linux = build_container(settings=OciSettings(disable_proc_mount=True))["linux"]
        assert linux["maskedPaths"] == list(MASKED_PATHS)

    @pytest.mark.usefixtures("privileged")
    def test_privileged_has_none(self, build_container, context):
        context.masked_paths.append("/proc/kcore")
        assert "maskedPaths" not in build_container()["linux"]

    def test_the_sandbox_keeps_the_defaults(self, build_sandbox):
        assert build_sandbox()["linux"]["maskedPaths"] == list(MASKED_PATHS)


class TestPrivilege:
    def test_no_new_privs(self, build_container, build_sandbox, context):
        assert build_container()["process"]["noNewPrivileges"] is False
        assert build_sandbox()["process"]["noNewPrivileges"] is True
        context.no_new_privs = True
        assert build_container()["process"]["noNewPrivileges"] is True

    def test_privilege_needs_a_privileged_sandbox(self, build_container, context):
        context.privileged = True
        with pytest.raises(InvalidArgument, match="no privileged container is allowed"):
            build_container()
