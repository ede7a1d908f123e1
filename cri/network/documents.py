"""JSON documents as CNI exchanges them: strict decoding, compact encoding. Knows nothing of their contents."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"
JsonObject: TypeAlias = "dict[str, Json]"


class NotJson(ValueError):
    """The bytes are not a JSON object; the message says why, in words for an operator."""


def decode_object(data: bytes) -> JsonObject:
    """Decode one JSON object. Raises NotJson for anything else: other types, NaN, bad UTF-8, absurd nesting."""
    try:
        document = msgspec.json.decode(data)
        if not isinstance(document, dict):
            raise NotJson(f"expected a JSON object, found {_kind(document)}")
        msgspec.json.encode(document)
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError, ValueError) as error:
        if isinstance(error, NotJson):
            raise
        raise NotJson(f"not valid JSON: {error}") from None
    return document


def encode(document: Json) -> bytes:
    """Encode compactly, as UTF-8."""
    return msgspec.json.encode(document)


def _kind(value: Json) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
