"""Users and groups from request and image files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci.user import (
    ResolvedUser,
    container_user,
    container_user_request,
    process_user,
    resolve,
    sandbox_user_request,
)

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# comment
broken
app:x:1000:1001::/home/app:/bin/sh
1000:x:5:5::/:/bin/sh
huge:x:99999999999999999999:0::/:
"""
GROUP = b"root:x:0:root\nwheel:x:10:root,app\napp:x:1001:app\nextra:x:2000:app\nbad:x:notanumber:app\n"


def asked(**fields):
    context = criv1.LinuxContainerSecurityContext()
    for name, value in fields.items():
        if name in ("run_as_user", "run_as_group"):
            getattr(context, name).value = value
        elif name == "supplemental_groups":
            context.supplemental_groups.extend(value)
        else:
            setattr(context, name, value)
    return context


def resolved(image_user="", **fields):
    return resolve(container_user_request(asked(**fields), image_user), PASSWD, GROUP)


@pytest.mark.parametrize(
    ("image_user", "fields", "uid", "gid", "groups"),
    [
        ("", {}, 0, 0, (0, 10)),
        ("app", {}, 1000, 1001, (10, 1001, 2000)),
        ("1000", {}, 1000, 1001, (10, 1001, 2000)),
        ("app:wheel", {}, 1000, 10, (10, 2000)),
        ("app:77", {}, 1000, 77, (10, 77, 2000)),
        ("4000", {}, 4000, 0, (0,)),
        ("4000:5000", {}, 4000, 5000, (5000,)),
        ("app", {"run_as_user": 4000}, 4000, 0, (0,)),
        ("app", {"run_as_user": 4000, "run_as_group": 6}, 4000, 6, (6,)),
        ("", {"run_as_username": "app"}, 1000, 1001, (10, 1001, 2000)),
        ("", {"run_as_username": "app", "run_as_user": 9, "run_as_group": 6}, 1000, 6, (6, 10, 2000)),
        ("", {"run_as_user": 1000, "supplemental_groups": [7, 7]}, 1000, 1001, (7, 10, 1001, 2000)),
        (
            "app",
            {"supplemental_groups": [7], "supplemental_groups_policy": criv1.Strict},
            1000,
            1001,
            (7, 1001),
        ),
    ],
)
def test_ids(image_user, fields, uid, gid, groups):
    user = resolved(image_user, **fields)
    assert (user.uid, user.gid, user.additional_gids) == (uid, gid, groups)


@pytest.mark.parametrize(
    ("image_user", "fields", "field"),
    [
        ("", {"run_as_group": 5}, "run_as_group"),
        ("", {"run_as_user": -1}, "run_as_user"),
        ("", {"run_as_user": 2**31}, "run_as_user"),
        ("", {"run_as_user": 1, "run_as_group": 2**31}, "run_as_group"),
        ("", {"supplemental_groups": [-5]}, "supplemental_groups"),
        ("", {"run_as_username": "nobody"}, "nobody"),
        ("", {"run_as_username": "a:b"}, "run_as_username"),
        ("", {"supplemental_groups_policy": 9}, "supplemental_groups_policy"),
        ("app:nogroup", {}, "nogroup"),
        ("a:b:c", {}, "user of the image"),
        ("huge", {}, "huge"),
        ("5000000000", {}, "user"),
    ],
)
def test_refusals_name_the_field(image_user, fields, field):
    with pytest.raises(InvalidArgument, match=field):
        resolved(image_user, **fields)


def test_without_files_numbers_work_and_names_do_not():
    request = container_user_request(asked(run_as_user=7), "")
    assert resolve(request, None, None) == ResolvedUser(7, 0, (0,), "")
    with pytest.raises(InvalidArgument, match="/etc/passwd"):
        resolve(container_user_request(asked(), "app"), None, None)


def test_files_are_not_needed_for_numbers_with_strict_groups():
    strict = asked(run_as_user=7, run_as_group=8, supplemental_groups_policy=criv1.Strict)
    assert not container_user_request(strict, "").needs_image_files
    assert container_user_request(asked(run_as_user=7, run_as_group=8), "").needs_image_files


def test_the_sandbox_leaves_the_images_groups_out():
    context = criv1.LinuxSandboxSecurityContext(supplemental_groups=[3])
    context.run_as_user.value = 1000
    user = resolve(sandbox_user_request(context, "root"), PASSWD, GROUP)
    assert (user.uid, user.gid, user.additional_gids) == (1000, 1001, (3, 1001))
    assert not sandbox_user_request(criv1.LinuxSandboxSecurityContext(), "65535:65535").needs_image_files


def test_the_status_tells_what_the_spec_has():
    status = container_user(process_user(ResolvedUser(5, 6, (6, 7)))).linux
    assert (status.uid, status.gid, list(status.supplemental_groups)) == (5, 6, [6, 7])


@given(st.binary(max_size=200), st.binary(max_size=200), st.text(max_size=12))
def test_any_files_and_any_image_user_resolve_or_are_refused(passwd, group, user):
    try:
        resolve(container_user_request(asked(), user), passwd, group)
    except InvalidArgument:
        pass
