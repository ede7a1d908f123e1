"""Reading a YAML document strictly: each value asked for by name and type, the rest an error.

A manifest with a field that is not understood must not run as if the field were not there, so `finish`
refuses what is left. Errors name the path as Kubernetes writes it: `spec.containers[0].ports[1].hostPort`.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, TypeVar, overload

from cri.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")


class ManifestError(InvalidArgument):
    """The manifest cannot be run as it is; the message begins with the path of the field."""


class Fields:
    """One mapping of the document and where it stands."""

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, dict):
            raise ManifestError(f"{path or 'manifest'}: expected a mapping, got {_kind(value)}")
        self.path = path
        self._values: Mapping[str, object] = value
        self._asked: set[str] = set()

    def at(self, name: str) -> str:
        """The path of one field."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Whether the field is given and not null."""
        return self._values.get(name) is not None

    @overload
    def text(self, name: str) -> str: ...
    @overload
    def text(self, name: str, default: T) -> str | T: ...
    def text(self, name: str, default: object = ...) -> object:
        """A string; required if there is no default."""
        return self._get(name, str, default)

    def integer(self, name: str, default: T) -> int | T:
        """An integer."""
        return self._get(name, int, default)

    def boolean(self, name: str, default: T) -> bool | T:
        """true or false."""
        return self._get(name, bool, default)

    def quantity(self, name: str) -> str | None:
        """A resource quantity: a string, or a bare number."""
        value = self._take(name)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        raise self.wrong(name, f"expected a quantity, got {_kind(value)}")

    def texts(self, name: str) -> list[str]:
        """A list of strings; empty when absent."""
        return [self._of_type(item, str, self.at(name)) for item in self._list(name)]

    def integers(self, name: str) -> list[int]:
        """A list of integers; empty when absent."""
        return [self._of_type(item, int, self.at(name)) for item in self._list(name)]

    def mapping(self, name: str) -> dict[str, str]:
        """String keys to string values; empty when absent."""
        value = self._take(name) or {}
        if not isinstance(value, dict):
            raise self.wrong(name, f"expected a mapping, got {_kind(value)}")
        return {str(key): self._of_type(each, str, f"{self.at(name)}.{key}") for key, each in value.items()}

    def table(self, name: str) -> Fields:
        """A nested mapping; one without fields when absent."""
        return Fields(self._take(name) or {}, self.at(name))

    def tables(self, name: str) -> list[Fields]:
        """A list of mappings; empty when absent."""
        return [Fields(item, f"{self.at(name)}[{index}]") for index, item in enumerate(self._list(name))]

    def ignore(self, names: Iterable[str]) -> None:
        """Fields that are understood to have no effect here."""
        self._asked.update(names)

    def wrong(self, name: str, message: str) -> ManifestError:
        """An error about one field, to be raised by the caller."""
        return ManifestError(f"{self.at(name)}: {message}")

    def finish(self) -> None:
        """Refuse fields that nobody asked for."""
        for name in self._values:
            if name not in self._asked:
                close = difflib.get_close_matches(str(name), self._asked, n=1, cutoff=0.8)
                hint = f'; did you mean "{close[0]}"?' if close else ""
                raise self.wrong(str(name), f"is not supported by cri-shim pod{hint}")

    def _take(self, name: str) -> object:
        self._asked.add(name)
        return self._values.get(name)

    def _get(self, name: str, kind: type[T], default: object) -> T:
        value = self._take(name)
        if value is None:
            if default is ...:
                raise self.wrong(name, "is required")
            return default  # type: ignore[return-value] # what the caller's own signature says
        return self._of_type(value, kind, self.at(name))

    def _list(self, name: str) -> list[object]:
        value = self._take(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(name, f"expected a list, got {_kind(value)}")
        return value

    @staticmethod
    def _of_type(value: object, kind: type[T], path: str) -> T:
        if type(value) is not kind:
            raise ManifestError(f"{path}: expected {_KINDS[kind]}, got {_kind(value)}")
        return value


_KINDS: dict[type, str] = {str: "a string", int: "an integer", bool: "true or false"}


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    names = {str: "a string", int: "an integer", float: "a number", list: "a list", dict: "a mapping"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
