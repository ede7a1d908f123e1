"""The one form of a refusal: field, value, and what would be allowed; and the checks that hold for any field."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cri.errors import InvalidArgument

if TYPE_CHECKING:
    from google.protobuf.message import Message

MOST_CONFIG_BYTES: Final = 4 << 20
"""Of a pod's or container's configuration. containerd's record holds it, and most of it once more in the spec, and must
fit into a message of 16 MiB. Kubernetes allows an object 1.5 MiB."""
MOST_ENTRIES: Final = 10_000
"""Of a list or map in it. The kernel has room for 100 000 mounts in a namespace, and takes minutes to make them."""
MOST_NAME_BYTES: Final = 1024
"""Of a name. Kubernetes' own end at 253."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def bad_value(field: str, value: object, allowed: str) -> InvalidArgument:
    """The error for `field` (its path in the request) having `value`; `allowed` completes "must be"."""
    shown = repr(value)
    if len(shown) > 200:
        shown = shown[:200] + "…"
    return InvalidArgument(f"{field}: {shown} must be {allowed}")


def check_range(field: str, value: int, low: int, high: int) -> None:
    """Raise InvalidArgument unless low <= value <= high."""
    if not low <= value <= high:
        raise bad_value(field, value, f"from {low} to {high}")


def check_extent(field: str, config: Message) -> None:
    """Raise InvalidArgument for a configuration that is larger than any that could be meant."""
    size = config.ByteSize()
    if size > MOST_CONFIG_BYTES:
        raise InvalidArgument(
            f"{field}: {size} bytes are too many, at most {MOST_CONFIG_BYTES} can be kept of it"
        )
    for described, value in config.ListFields():
        path = f"{field}.{described.name}"
        if described.is_repeated:
            if len(value) > MOST_ENTRIES:
                raise InvalidArgument(
                    f"{path}: {len(value)} entries are too many, at most {MOST_ENTRIES} can be had"
                )
        elif described.message_type is not None:
            check_extent(path, value)


def check_name(field: str, value: str) -> None:
    """Raise InvalidArgument unless `value` can be shown in a line and be a part of a path or of CNI's arguments."""
    check_plain(field, value)
    if len(value.encode()) > MOST_NAME_BYTES:
        raise bad_value(field, value, f"of at most {MOST_NAME_BYTES} bytes")


def check_plain(field: str, value: str) -> None:
    """Raise InvalidArgument for control characters: they break lines of files and logs, and deceive terminals."""
    if _CONTROL.search(value):
        raise bad_value(field, value, "without control characters")


def check_text(field: str, value: str) -> None:
    """Raise InvalidArgument for a NUL, which no path, argument or variable can carry to execve or mount."""
    if "\0" in value:
        raise bad_value(field, value, "without NUL characters")
