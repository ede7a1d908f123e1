"""JSON documents as CNI exchanges them: strict decoding, compact encoding. Nothing about contents."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"


class JsonError(ValueError):
    """The bytes are not a JSON object; the message says why, in words for an operator."""


def decode_object(data: bytes) -> JsonObject:
    """Decode one JSON object. Raises JsonError for all else: other types, NaN, bad UTF-8, absurd nesting."""
    try:
        document = msgspec.json.decode(data)
        if not isinstance(document, dict):
            raise JsonError(f"expected a JSON object, found {_kind(document)}")
        msgspec.json.encode(document)
    except RecursionError:
        raise JsonError("nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError, ValueError) as error:
        if isinstance(error, JsonError):
            raise
        raise JsonError(f"not valid JSON: {error}") from None
    return document


def encode(document: Json) -> bytes:
    """Encode compactly, as UTF-8."""
    return msgspec.json.encode(document)


def _kind(value: Json) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
