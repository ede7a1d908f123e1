"""Kubernetes resource quantities ("10M", "1.5Gi", "2e6"), as pod annotations carry them. Pure.

The grammar is that of apimachinery's `resource.Quantity`: a signed decimal number and either a binary suffix
(Ki … Ei), a decimal one (n, u, m, none, k … E) or a decimal exponent. Upper-case K and lower-case g, t, … are
not suffixes; "1E" is an exa, "1E3" an exponent.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

LONGEST = 64
"""No sensible quantity is longer; keeps hostile input cheap."""
LARGEST_EXPONENT = 100

_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)", re.ASCII)
_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?", re.ASCII)
_SUFFIXES: dict[str, Fraction] = {
    "": Fraction(1),
    **{suffix: Fraction(1, 1000**power) for power, suffix in enumerate(("m", "u", "n"), start=1)},
    **{suffix: Fraction(1000**power) for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{
        f"{suffix}i": Fraction(1024**power)
        for power, suffix in enumerate(("K", "M", "G", "T", "P", "E"), start=1)
    },
}


def parse_quantity(text: str) -> int:
    """The quantity as a whole number, rounded up as `Quantity.Value()` does. Raises ValueError."""
    if not text or len(text) > LONGEST:
        raise ValueError(f"{text[:LONGEST]!r} is not a quantity")
    number = _NUMBER.match(text)
    if number is None:  # the pattern matches the empty string, so this is for the type checker only
        raise ValueError(f"{text!r} is not a quantity")
    sign, whole, fraction = number.group(1), number.group(2), number.group(3) or ""
    value = Fraction(int(whole + fraction or "0"), 10 ** len(fraction)) * _scale(text, text[number.end() :])
    return math.ceil(-value if sign == "-" else value)


def _scale(text: str, suffix: str) -> Fraction:
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    exponent = _EXPONENT.fullmatch(suffix)
    if exponent is None:
        raise ValueError(f"{text!r} is not a quantity: unknown suffix {suffix!r}")
    power = max(-LARGEST_EXPONENT, min(LARGEST_EXPONENT, int(exponent.group(1))))
    return Fraction(10) ** power
