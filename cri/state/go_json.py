"""CRI messages as Go's encoding/json writes them, which is how containerd's CRI plugin stores a `Config`.

This is not protobuf JSON: keys are the proto's field names, zero values are left out, enums and 64-bit integers
are numbers, and the value of an environment variable, although a bytes field by now, stays a string. Reading
ignores keys that this version of the messages does not know, so that records of a newer server load.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
M = TypeVar("M", bound=Message)

TEXT_AS_BYTES = frozenset({"runtime.v1.KeyValue.value"})
"""Bytes fields that Go writes as text. Bytes that are no UTF-8 survive as lone surrogates."""


def to_go_json(message: Message) -> dict[str, Json]:
    """The message as plain values, ready for `json.dumps` (not for encoders that refuse lone surrogates)."""
    result: dict[str, Json] = {}
    for field, value in message.ListFields():
        if _is_map(field):
            _, value_field = _entry_fields(field)
            result[field.name] = {str(key): _plain(value_field, item) for key, item in value.items()}
        elif field.is_repeated:
            result[field.name] = [_plain(field, item) for item in value]
        else:
            result[field.name] = _plain(field, value)
    return result


def from_go_json(kind: type[M], data: Mapping[str, Json]) -> M:
    """The message of type `kind` that `data` describes. Raises ValueError, TypeError on values of a wrong type."""
    message = kind()
    _fill(message, data)
    return message


def _plain(field: FieldDescriptor, value: object) -> Json:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return to_go_json(cast("Message", value))
    if field.type == FieldDescriptor.TYPE_BYTES:
        raw = cast("bytes", value)
        return (
            raw.decode(errors="surrogateescape")
            if field.full_name in TEXT_AS_BYTES
            else base64.b64encode(raw).decode()
        )
    return cast("Json", value)


def _fill(message: Message, data: Mapping[str, Json]) -> None:
    fields = message.DESCRIPTOR.fields_by_name
    for name, value in data.items():
        if name not in fields or value is None:
            continue
        field = cast("FieldDescriptor", fields[name])
        if _is_map(field):
            _fill_map(message, field, cast("Mapping[str, Json]", value))
        elif field.is_repeated:
            _fill_list(message, field, cast("Sequence[Json]", value))
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            child = getattr(message, name)
            child.SetInParent()
            _fill(child, cast("Mapping[str, Json]", value))
        else:
            setattr(message, name, _scalar(field, value))


def _fill_map(message: Message, field: FieldDescriptor, data: Mapping[str, Json]) -> None:
    target = getattr(message, field.name)
    key_field, value_field = _entry_fields(field)
    for key, value in data.items():
        typed_key = key if key_field.type == FieldDescriptor.TYPE_STRING else int(key)
        target[typed_key] = _scalar(value_field, value)


def _fill_list(message: Message, field: FieldDescriptor, data: Sequence[Json]) -> None:
    target = getattr(message, field.name)
    for value in data:
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            _fill(target.add(), cast("Mapping[str, Json]", value))
        else:
            target.append(_scalar(field, value))


def _scalar(field: FieldDescriptor, value: Json) -> object:
    if field.type == FieldDescriptor.TYPE_BYTES:
        text = cast("str", value)
        return (
            text.encode(errors="surrogateescape")
            if field.full_name in TEXT_AS_BYTES
            else base64.b64decode(text)
        )
    return value


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _entry_fields(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor]:
    """The descriptors of a map's keys and values."""
    names = cast("Descriptor", field.message_type).fields_by_name
    return names["key"], names["value"]
