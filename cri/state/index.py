"""Objects by id, found by full id or by a unique prefix of it, as crictl users type it.

An ambiguous prefix is refused, never guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from cri.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator


class Identified(Protocol):
    """What the index needs of an object."""

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""


T = TypeVar("T", bound=Identified)


class Index(Generic[T]):
    """All live objects of one noun, in order of arrival."""

    def __init__(self, noun: str) -> None:
        """`noun` is what error messages call the objects ("pod sandbox"); CRI's field is `pod_sandbox_id`."""
        self._noun = noun
        self._field = f"{noun.replace(' ', '_')}_id"
        self._objects: dict[str, T] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._objects.values()))

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._objects

    def add(self, item: T) -> None:
        """Add or replace an object under its id."""
        self._objects[item.id] = item

    def remove(self, identifier: str) -> None:
        """Forget an object; absent is fine."""
        self._objects.pop(identifier, None)

    def find(self, identifier: str) -> T | None:
        """The object with this id or unique id prefix, None if there is none.

        Raises InvalidArgument if several ids begin with the prefix, or it is empty.
        """
        if not identifier:
            raise InvalidArgument(f"{self._field} is empty")
        exact = self._objects.get(identifier)
        if exact is not None:
            return exact
        matches = [key for key in self._objects if key.startswith(identifier)]
        if len(matches) > 1:
            raise InvalidArgument(
                f"{self._noun} id prefix {identifier!r} is ambiguous: {len(matches)} ids begin with it, "
                f"such as {matches[0][:13]} and {matches[1][:13]}; give more characters"
            )
        return self._objects[matches[0]] if matches else None

    def get(self, identifier: str) -> T:
        """Like `find`, but raises NotFound if there is none."""
        found = self.find(identifier)
        if found is None:
            raise NotFound(f"{self._noun} {identifier!r} does not exist")
        return found
