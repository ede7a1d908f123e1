"""Container specs as a whole: annotations, base specs, and any request at all."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.wire import criv1
from cri.errors import InvalidArgument, Unimplemented
from cri.oci.defaults import default_spec
from cri.oci.spec import from_json, to_json
from cri.oci.user import ResolvedUser


def test_an_ordinary_container(build_container):
    spec = build_container()
    assert spec["process"]["args"] == ["/bin/app", "--serve"]
    assert spec["process"]["cwd"] == "/srv"
    assert spec["process"]["user"] == {"uid": 0, "gid": 0, "additionalGids": [0]}
    assert spec["process"]["terminal"] is False
    assert spec["linux"]["cgroupsPath"] == "/kubepods/pod1/c1"
    assert spec["root"] == {"path": "rootfs", "readonly": False}
    assert "rlimits" not in spec["process"]
    assert json.loads(to_json(spec)) == from_json(to_json(spec)) == spec


def test_hostname_variable(build_container, pod, host):
    assert "HOSTNAME=web-0" in build_container()["process"]["env"]
    pod.hostname = ""
    assert "HOSTNAME=node-1" in build_container(host=host)["process"]["env"]


def test_annotations(build_container, pod, config, handler):
    pod.annotations["pod.io/a"] = "1"
    config.annotations["container.io/b"] = "2"
    config.annotations["pod.io/c"] = "3"
    chosen = replace(handler, pod_annotations=("pod.io/*",), container_annotations=("container.io/*",))
    assert build_container(handler=chosen)["annotations"] == {
        "pod.io/a": "1",
        "container.io/b": "2",
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.sandbox-id": "s1",
        "io.kubernetes.cri.sandbox-name": "web-0",
        "io.kubernetes.cri.sandbox-namespace": "default",
        "io.kubernetes.cri.sandbox-uid": "uid",
        "io.kubernetes.cri.container-name": "app",
        "io.kubernetes.cri.image-name": "registry.example/app:1",
    }


class TestBaseSpec:
    @pytest.fixture
    def base(self):
        spec = default_spec()
        spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 9, "soft": 9}]
        spec["process"]["env"] = ["PATH=/base", "BASE=1"]
        spec["process"]["capabilities"]["bounding"] = ["CAP_CHOWN"]
        spec["process"]["apparmorProfile"] = "base"
        spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
        spec["linux"]["resources"]["pids"] = {"limit": 100}
        spec["linux"]["namespaces"] = [{"type": "network"}, {"type": "time"}]
        spec["mounts"].append({"destination": "/run", "type": "tmpfs", "source": "tmpfs"})
        spec["annotations"] = {"base": "1"}
        spec["hooks"] = {"poststop": [{"path": "/bin/h"}]}
        spec["vm"] = {"kernel": "kept though unknown"}
        return spec

    def test_it_replaces_the_defaults_and_the_request_goes_on_top(self, build_container, handler, base):
        before = json.dumps(base)
        spec = build_container(handler=replace(handler, base_spec=base))
        process, linux = spec["process"], spec["linux"]
        assert process["rlimits"][0]["hard"] == 9
        assert {"PATH=/base", "BASE=1", "FROM_IMAGE=1"} <= set(process["env"])
        assert process["capabilities"]["bounding"] == ["CAP_CHOWN"]
        assert process["apparmorProfile"] == "base"
        assert linux["seccomp"] == {"defaultAction": "SCMP_ACT_ALLOW"}
        assert linux["resources"]["pids"] == {"limit": 100}
        assert [n for n in linux["namespaces"] if n["type"] in ("network", "time")] == [
            {"type": "time"},
            {"type": "network", "path": "/proc/4711/ns/net"},
        ]
        assert not [mount for mount in spec["mounts"] if mount["destination"] == "/run"]
        assert spec["annotations"]["base"] == "1"
        assert spec["hooks"] == base["hooks"]
        assert spec["vm"] == base["vm"]
        assert json.dumps(base) == before, "the configured base spec was changed"

    def test_an_almost_empty_one_is_enough(self, build_container, handler):
        spec = build_container(handler=replace(handler, base_spec={}))
        assert spec["process"]["args"] == ["/bin/app", "--serve"]
        assert spec["process"]["cwd"] == "/srv"


texts = st.sampled_from(["", "/", "/a", "a", "x\0y", "ALL", "net_raw", "localhost/p", "s0:c1,c2", "é" * 30])
numbers = st.sampled_from([0, 1, -1, 2, 1000, 2**31 - 1, 2**31, 2**63 - 1, -(2**63)])
enums = st.sampled_from([0, 1, 2, 3, 9])


def random_message(draw, message, depth=0):
    """Fill any field of `message` with anything that its type allows."""
    for field in message.DESCRIPTOR.fields:
        if depth > 4 or field.name == "windows" or draw(st.integers(0, 3)) != 0:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            target = getattr(message, field.name)
            target[draw(texts)] = draw(texts)
        elif field.message_type is not None:
            target = getattr(message, field.name)
            if hasattr(target, "add"):
                random_message(draw, target.add(), depth + 1)
            else:
                target.SetInParent()
                random_message(draw, target, depth + 1)
        else:
            value = draw(random_scalar(field))
            if hasattr(getattr(message, field.name), "append"):
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)


def random_scalar(field):
    if field.type in (field.TYPE_INT64, field.TYPE_INT32):
        return numbers.filter(lambda n: field.type == field.TYPE_INT64 or -(2**31) <= n < 2**31)
    if field.type in (field.TYPE_UINT64, field.TYPE_UINT32):
        return numbers.filter(lambda n: 0 <= n < 2**32)
    if field.type == field.TYPE_ENUM:
        return enums
    if field.type == field.TYPE_BOOL:
        return st.booleans()
    if field.type == field.TYPE_BYTES:
        return st.binary(max_size=4)
    return texts


@st.composite
def messages(draw, kind):
    message = kind()
    random_message(draw, message)
    return message


SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@hypothesis_settings(**SLOW)
@given(messages(criv1.ContainerConfig), messages(criv1.PodSandboxConfig))
def test_any_request_is_translated_or_refused(
    build_container, build_sandbox, config, pod, any_config, any_pod
):
    config.CopyFrom(any_config)
    pod.CopyFrom(any_pod)
    for build in (build_sandbox, build_container):
        try:
            spec = build(user=ResolvedUser())
        except (InvalidArgument, Unimplemented) as refused:
            assert refused.message  # noqa: PT017
        else:
            assert from_json(to_json(spec)) == spec
