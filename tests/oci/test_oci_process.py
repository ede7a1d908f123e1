"""Arguments, environment and directory from request and image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci.exec_process import ExecRequest, exec_process
from cri.oci.image_defaults import ImageDefaults
from cri.oci.process import arguments, environment, merge_environment, sandbox_arguments, working_directory

IMAGE = ImageDefaults(entrypoint=("/entry", "-e"), cmd=("cmd",))


@pytest.mark.parametrize(
    ("command", "args", "image", "expected"),
    [
        ([], [], IMAGE, ["/entry", "-e", "cmd"]),
        ([], ["a"], IMAGE, ["/entry", "-e", "a"]),
        (["c"], [], IMAGE, ["c"]),
        (["c"], ["a"], IMAGE, ["c", "a"]),
        ([], [], ImageDefaults(entrypoint=("",), cmd=("cmd",)), ["cmd"]),
        ([], [], ImageDefaults(cmd=("cmd", "x")), ["cmd", "x"]),
    ],
)
def test_command_and_args_override_entrypoint_and_cmd(command, args, image, expected):
    assert arguments(criv1.ContainerConfig(command=command, args=args), image) == expected


@pytest.mark.parametrize("command", [[], [""], ["a\0b"]])
def test_unusable_commands_are_refused(command):
    with pytest.raises(InvalidArgument, match=r"config\.command"):
        arguments(criv1.ContainerConfig(command=command), ImageDefaults())


def test_a_sandbox_image_must_have_a_program():
    with pytest.raises(InvalidArgument, match="neither entrypoint nor command"):
        sandbox_arguments(ImageDefaults())


def test_the_environment_is_layered_and_later_values_win_in_place():
    config = criv1.ContainerConfig(tty=True)
    config.envs.add(key="FROM_IMAGE", value=b"request")
    config.envs.add(key="NEW", value=b"x=y")
    image = ImageDefaults(env=("PATH=/image", "FROM_IMAGE=image"))
    assert environment(["PATH=/default"], config, image, "web-0") == [
        "PATH=/image",
        "TERM=xterm",
        "HOSTNAME=web-0",
        "FROM_IMAGE=request",
        "NEW=x=y",
    ]


def test_values_that_are_not_utf8_are_kept_from_breaking_the_spec():
    config = criv1.ContainerConfig()
    config.envs.add(key="BLOB", value=b"a\xff\xc3\xb6\xfe")
    assert environment([], config, ImageDefaults(), "h")[-1] == "BLOB=a\ufffdö\ufffd"


@pytest.mark.parametrize(("key", "value"), [("", b"x"), ("A=B", b"x"), ("A\0", b"x"), ("A", b"secret\0")])
def test_impossible_variables_are_refused_without_telling_the_value(key, value):
    config = criv1.ContainerConfig()
    config.envs.add(key=key, value=value)
    with pytest.raises(InvalidArgument, match=r"config\.envs") as refused:
        environment([], config, ImageDefaults(), "h")
    assert "secret" not in refused.value.message


def test_an_entry_without_a_value_removes_the_variable():
    assert merge_environment(["A=1", "B=2"], ["A"]) == ["B=2"]


variables = st.lists(st.tuples(st.sampled_from("ABC"), st.text(st.characters(codec="ascii"), max_size=3)))


@given(variables, variables)
def test_merging_keeps_one_entry_a_name_and_the_last_value(base, overrides):
    merged = merge_environment([f"{k}={v}" for k, v in base], [f"{k}={v}" for k, v in overrides])
    assert dict(entry.split("=", 1) for entry in merged) == dict(base) | dict(overrides)
    assert len(merged) == len({*dict(base), *dict(overrides)})


def test_the_directory_is_the_requests_then_the_images():
    image = ImageDefaults(working_dir="/image")
    assert working_directory(criv1.ContainerConfig(working_dir="/asked"), image, "/") == "/asked"
    assert working_directory(criv1.ContainerConfig(), image, "/") == "/image"
    assert working_directory(criv1.ContainerConfig(), ImageDefaults(), "/") == "/"
    with pytest.raises(InvalidArgument, match=r"config\.working_dir"):
        working_directory(criv1.ContainerConfig(working_dir="here"), image, "/")


def test_exec_takes_the_containers_process_with_another_command(build_container, config):
    config.tty = True
    spec = build_container()
    process = exec_process(spec, ExecRequest(("/bin/true",)))
    assert process["args"] == ["/bin/true"]
    assert process["terminal"] is False
    assert process["capabilities"] == spec["process"]["capabilities"]
    assert spec["process"]["args"] == ["/bin/app", "--serve"], "the container's own process changed"


def test_exec_with_a_terminal_sets_term(build_container):
    process = exec_process(build_container(), ExecRequest(("sh",), terminal=True))
    assert process["terminal"] is True
    assert "TERM=xterm" in process["env"]


@pytest.mark.parametrize("command", [(), ("",), ("a\0",)])
def test_exec_needs_a_command(build_container, command):
    with pytest.raises(InvalidArgument, match="cmd"):
        exec_process(build_container(), ExecRequest(command))
