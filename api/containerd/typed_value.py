"""TypedValue: what travels in a protobuf Any, with the type URLs as containerd wants them.

containerd compares type URLs exactly and knows only bare names ("containerd.runc.v1.Options"), while Python's
`Any.Pack` always writes a slash and `Any.Unpack` insists on one. So values are put in and taken out by hand,
here and nowhere else. Go structs without a proto travel as JSON under URLs of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, overload

import msgspec
from google.protobuf import any_pb2
from google.protobuf.message import Message

T = TypeVar("T")
M = TypeVar("M", bound=Message)

SPEC_TYPE_URL = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
"""An OCI runtime spec (JSON): `Container.spec`."""

PROCESS_TYPE_URL = "types.containerd.io/opencontainers/runtime-spec/1/Process"
"""An OCI process (JSON): the `process` of `Tasks.exec`."""

LINUX_RESOURCES_TYPE_URL = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
"""OCI linux.resources (JSON): the `resources` of `Tasks.update`."""


@dataclass(frozen=True, slots=True)
class TypedValue:
    """Bytes with the name of their type; the bytes are decoded only by whoever wants to see inside."""

    type_url: str
    """Bare full name of a protobuf message, or a registered URL of a JSON type."""
    value: bytes

    @staticmethod
    def json(type_url: str, content: object) -> TypedValue:
        """`content` (anything that msgspec encodes) as JSON under `type_url`."""
        return TypedValue(type_url, msgspec.json.encode(content))

    @overload
    def decode_json(self) -> object: ...
    @overload
    def decode_json(self, shape: type[T]) -> T: ...
    def decode_json(self, shape: type[T] | None = None) -> object:
        """The JSON inside, checked against `shape` if given. Raises msgspec.DecodeError (a ValueError)."""
        return (
            msgspec.json.decode(self.value) if shape is None else msgspec.json.decode(self.value, type=shape)
        )

    def decode(self, kind: type[M]) -> M:
        """The protobuf message inside.

        Raises TypeError when the name is that of another message, google.protobuf.message.DecodeError when
        the bytes are not one.
        """
        if self.name != kind.DESCRIPTOR.full_name:
            raise TypeError(f"expected {kind.DESCRIPTOR.full_name}, found {self.type_url}")
        return kind.FromString(self.value)

    @property
    def name(self) -> str:
        """The message name without a host in front, as some other clients write one."""
        return self.type_url.removeprefix("type.googleapis.com/")


def typed(message: Message) -> TypedValue:
    """A protobuf message under its bare full name."""
    return TypedValue(message.DESCRIPTOR.full_name, message.SerializeToString())


def to_wire(value: TypedValue | None) -> any_pb2.Any | None:
    """For a request's field; None leaves it unset."""
    return None if value is None else any_pb2.Any(type_url=value.type_url, value=value.value)


def from_wire(value: any_pb2.Any) -> TypedValue:
    """From a response's field that is set."""
    return TypedValue(value.type_url, value.value)


def from_wire_or_none(value: any_pb2.Any) -> TypedValue | None:
    """From a response's field; an unset (or nameless and empty) one is None."""
    return TypedValue(value.type_url, value.value) if value.type_url or value.value else None
