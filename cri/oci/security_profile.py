"""Which security profile a request means: the SecurityProfile message, or the older strings still in use."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from api.wire import criv1
from cri.oci.refusals import bad_value, check_text

LOCALHOST_PREFIX = "localhost/"


class ProfileKind(Enum):
    """Where a profile comes from."""

    RUNTIME_DEFAULT = "RuntimeDefault"
    UNCONFINED = "Unconfined"
    LOCALHOST = "Localhost"


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """A profile by kind; `name` is the file or profile name of a Localhost one, else empty."""

    kind: ProfileKind
    name: str = ""


UNCONFINED = ProfileRequest(ProfileKind.UNCONFINED)
RUNTIME_DEFAULT = ProfileRequest(ProfileKind.RUNTIME_DEFAULT)

_KINDS = {
    criv1.SecurityProfile.RuntimeDefault: ProfileKind.RUNTIME_DEFAULT,
    criv1.SecurityProfile.Unconfined: ProfileKind.UNCONFINED,
    criv1.SecurityProfile.Localhost: ProfileKind.LOCALHOST,
}


def from_message(field: str, profile: criv1.SecurityProfile) -> ProfileRequest:
    """What the message asks for. Raises InvalidArgument for an unknown type or a reference out of place."""
    kind = _KINDS.get(profile.profile_type)
    if kind is None:
        raise bad_value(
            f"{field}.profile_type",
            profile.profile_type,
            "RuntimeDefault (0), Unconfined (1) or Localhost (2)",
        )
    if kind is not ProfileKind.LOCALHOST:
        if profile.localhost_ref:
            raise bad_value(f"{field}.localhost_ref", profile.localhost_ref, f"empty with type {kind.value}")
        return ProfileRequest(kind)
    return _localhost(f"{field}.localhost_ref", profile.localhost_ref)


def from_text(field: str, text: str) -> ProfileRequest:
    """What an older field or a configuration key asks for: runtime/default, unconfined or localhost/NAME."""
    if text in ("runtime/default", "docker/default"):
        return RUNTIME_DEFAULT
    if text == "unconfined":
        return UNCONFINED
    if not text.startswith(LOCALHOST_PREFIX):
        raise bad_value(field, text, "runtime/default, unconfined or localhost/NAME")
    return _localhost(field, text)


def _localhost(field: str, reference: str) -> ProfileRequest:
    name = reference.removeprefix(LOCALHOST_PREFIX)
    check_text(field, name)
    if not name:
        raise bad_value(field, reference, "the name of a profile on this machine")
    return ProfileRequest(ProfileKind.LOCALHOST, name)
