"""The one form of a refusal: field, value, and what would be allowed."""

from __future__ import annotations

from cri.errors import InvalidArgument


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


def check_text(field: str, value: str) -> None:
    """Raise InvalidArgument for a NUL, which no path, argument or variable can carry to execve or mount."""
    if "\0" in value:
        raise bad_value(field, value, "without NUL characters")
