"""Who a container's process is, looked up in the image's /etc/passwd and /etc/group.

The request's run_as_* fields come before the image's USER (OCI image-spec, config.md): `user`, `uid`,
`user:group`, `uid:gid` and mixtures; a number is an id even if a user has that name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci.refusals import bad_value, check_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cri.oci import spec as oci

#: runc keeps ids in a signed 32-bit number.
MAX_ID = 2**31 - 1

_CONTEXT = "config.linux.security_context"


@dataclass(frozen=True, slots=True)
class UserRequest:
    """What is asked for, before any lookup. Strings may be numbers."""

    #: "" stands for root.
    user: str
    #: "" stands for the user's own group.
    group: str
    #: Added to the process, as they are.
    supplemental_groups: tuple[int, ...]
    #: Also add the groups that /etc/group lists the user in (policy Merge).
    merge_image_groups: bool

    @property
    def needs_image_files(self) -> bool:
        """Whether `resolve` needs the contents of /etc/passwd and /etc/group."""
        return self.merge_image_groups or _id(self.user) is None or _id(self.group) is None


@dataclass(frozen=True, slots=True)
class ResolvedUser:
    """Numeric identity of a process, inside of its user namespace."""

    uid: int = 0
    gid: int = 0
    #: Sorted, without doubles, `gid` included.
    additional_gids: tuple[int, ...] = (0,)
    #: Name of the user where known, for messages.
    username: str = ""


def container_user_request(context: criv1.LinuxContainerSecurityContext, image_user: str) -> UserRequest:
    """The user that a container asks for; `image_user` when the request names none.

    Raises InvalidArgument for a group without a user, ids out of range and an unknown groups policy.
    """
    user, group = _requested_user(context, context.run_as_username) or _image_user(image_user)
    return UserRequest(user, group, _supplemental(context.supplemental_groups), _merges(context))


def sandbox_user_request(context: criv1.LinuxSandboxSecurityContext, image_user: str) -> UserRequest:
    """The user that the sandbox's own process runs as. Raises as `container_user_request`.

    The image's groups are left out: the process holds namespaces and needs no file access.
    """
    user, group = _requested_user(context, "") or _image_user(image_user)
    _merges(context)
    return UserRequest(user, group, _supplemental(context.supplemental_groups), merge_image_groups=False)


def resolve(request: UserRequest, passwd: bytes | None, group: bytes | None) -> ResolvedUser:
    """Turn names into ids by the contents of /etc/passwd and /etc/group (None: no such file).

    An unknown uid gets group 0. Raises InvalidArgument for a user or group name that the image does not know.
    """
    uid, own_gid, name = _resolve_user(request.user or "0", passwd)
    gid = _resolve_group(request.group, group) if request.group else own_gid
    groups = {gid, *request.supplemental_groups}
    if request.merge_image_groups and name:
        groups.update(_groups_of(name, group))
    return ResolvedUser(uid, gid, tuple(sorted(groups)), name)


def process_user(user: ResolvedUser) -> oci.User:
    """`process.user` of the spec."""
    return {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.additional_gids)}


def container_user(user: oci.User) -> criv1.ContainerUser:
    """`user` of ContainerStatus, from `process.user` of the spec."""
    linux = criv1.LinuxContainerUser(uid=user.get("uid", 0), gid=user.get("gid", 0))
    linux.supplemental_groups.extend(user.get("additionalGids", ()))
    return criv1.ContainerUser(linux=linux)


def _requested_user(
    context: criv1.LinuxContainerSecurityContext | criv1.LinuxSandboxSecurityContext, username: str
) -> tuple[str, str] | None:
    user, group = username, ""
    if context.HasField("run_as_user"):
        check_range(f"{_CONTEXT}.run_as_user", context.run_as_user.value, 0, MAX_ID)
        user = username or str(context.run_as_user.value)
    if context.HasField("run_as_group"):
        check_range(f"{_CONTEXT}.run_as_group", context.run_as_group.value, 0, MAX_ID)
        group = str(context.run_as_group.value)
    if group and not user:
        raise InvalidArgument(
            f"{_CONTEXT}.run_as_group: group {group} is specified without user; "
            "set run_as_user or run_as_username as well"
        )
    if username and ":" in username:
        raise bad_value(f"{_CONTEXT}.run_as_username", username, "a user name or id without a group")
    return (user, group) if user else None


def _image_user(image_user: str) -> tuple[str, str]:
    user, _, group = image_user.partition(":")
    if ":" in group:
        raise bad_value("user of the image", image_user, "user, uid, or either with :group or :gid")
    return user, group


def _supplemental(groups: Iterable[int]) -> tuple[int, ...]:
    chosen = tuple(groups)
    for group in chosen:
        check_range(f"{_CONTEXT}.supplemental_groups", group, 0, MAX_ID)
    return chosen


def _merges(context: criv1.LinuxContainerSecurityContext | criv1.LinuxSandboxSecurityContext) -> bool:
    policy = context.supplemental_groups_policy
    if policy not in (criv1.Merge, criv1.Strict):
        raise bad_value(f"{_CONTEXT}.supplemental_groups_policy", policy, "Merge (0) or Strict (1)")
    return policy == criv1.Merge


def _id(text: str) -> int | None:
    """The id that `text` is, None for a name (and for digits beyond any id, which then match nothing)."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else None


def _resolve_user(user: str, passwd: bytes | None) -> tuple[int, int, str]:
    uid = _id(user)
    if uid is not None:
        check_range("user", uid, 0, MAX_ID)
    for name, entry_uid, entry_gid in _passwd_entries(passwd or b""):
        if entry_uid == uid if uid is not None else name == user:
            check_range(f"/etc/passwd of the image, ids of {name}", max(entry_uid, entry_gid), 0, MAX_ID)
            return entry_uid, entry_gid, name
    if uid is not None:
        return uid, 0, ""
    raise InvalidArgument(
        f"user {user!r} is not in /etc/passwd of the image; use a user that the image has, or a numeric id"
    )


def _resolve_group(group: str, groups: bytes | None) -> int:
    gid = _id(group)
    if gid is None:
        for name, entry_gid, _ in _group_entries(groups or b""):
            if name == group:
                gid = entry_gid
                break
        else:
            raise InvalidArgument(
                f"group {group!r} is not in /etc/group of the image; use one that the image has, or a number"
            )
    check_range("group", gid, 0, MAX_ID)
    return gid


def _groups_of(user: str, groups: bytes | None) -> Iterator[int]:
    """Groups that list `user` as a member; its own group of the same name is not a supplemental one."""
    for name, gid, members in _group_entries(groups or b""):
        if name != user and user in members and gid <= MAX_ID:
            yield gid


def _passwd_entries(passwd: bytes) -> Iterator[tuple[str, int, int]]:
    for fields in _lines(passwd):
        uid, gid = (_id(field) for field in (*fields[2:4], "", "")[:2])
        if uid is not None and gid is not None:
            yield fields[0], uid, gid


def _group_entries(groups: bytes) -> Iterator[tuple[str, int, list[str]]]:
    for fields in _lines(groups):
        gid = _id(fields[2]) if len(fields) > 2 else None
        if gid is not None:
            yield fields[0], gid, fields[3].split(",") if len(fields) > 3 else []


def _lines(data: bytes) -> Iterator[list[str]]:
    """Fields of each line; malformed lines are somebody else's business and skipped by the callers."""
    for line in data.decode(errors="replace").split("\n"):
        if line.strip() and not line.startswith("#"):
            yield line.strip().split(":")
