"""Who a container's process is: the request's user or the image's, looked up in the image's /etc/passwd and /etc/group.

The rules of the CRI's run_as_* fields and of the image's USER (OCI image-spec, config.md): `user`, `uid`,
`user:group`, `uid:gid` and mixtures; a number is an id even if a user has that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci import spec as oci

#: runc keeps ids in a signed 32-bit number.
MAX_ID = 2**31 - 1


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
        """Whether `resolve` can do without the contents of /etc/passwd and /etc/group."""
        return not (self.user.isdigit() and self.group.isdigit()) or self.merge_image_groups


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
    raise NotImplementedError


def sandbox_user_request(context: criv1.LinuxSandboxSecurityContext, image_user: str) -> UserRequest:
    """The user that the sandbox's own process runs as. Raises as `container_user_request`."""
    raise NotImplementedError


def resolve(request: UserRequest, passwd: bytes | None, group: bytes | None) -> ResolvedUser:
    """Turn names into ids by the contents of /etc/passwd and /etc/group (None: no such file).

    An unknown uid gets group 0. Raises InvalidArgument for a user or group name that the image does not know.
    """
    raise NotImplementedError


def process_user(user: ResolvedUser) -> oci.User:
    """`process.user` of the spec."""
    return {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.additional_gids)}


def container_user(user: oci.User) -> criv1.ContainerUser:
    """`user` of ContainerStatus, from `process.user` of the spec."""
    linux = criv1.LinuxContainerUser(uid=user.get("uid", 0), gid=user.get("gid", 0))
    linux.supplemental_groups.extend(user.get("additionalGids", ()))
    return criv1.ContainerUser(linux=linux)
