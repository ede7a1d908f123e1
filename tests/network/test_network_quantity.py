from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.network.quantity import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("10M", 10_000_000),
        ("10Mi", 10 * 1024**2),
        ("1.5Gi", 3 * 1024**3 // 2),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("2.5e+1", 25),
        ("100e-2", 1),
        ("100m", 1),
        ("1500m", 2),
        (".5k", 500),
        ("5.", 5),
        ("+7", 7),
        ("-1500m", -1),
        ("1n", 1),
        ("007", 7),
        ("M", 0),  # apimachinery reads a missing number as zero
    ],
)
def test_quantities_as_kubernetes_reads_them(text: str, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "1K", "1g", "1e", "1e3k", "1.2.3", "1Mi3", "0x10", "٣", "1" * 65, "1_0", "nan", "1ki"],
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


def test_a_huge_exponent_costs_nothing() -> None:
    assert parse_quantity("1e999999999") == 10**100
    assert parse_quantity("1e-999999999") == 1, "rounded up"


@given(st.text(alphabet="0123456789.eEinumkKMGTP+-", max_size=80))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    try:
        parse_quantity(text)
    except ValueError:
        pass


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9),
    st.booleans(),
)
def test_rounding_goes_up(number: object, binary: bool) -> None:
    scale = 1024**2 if binary else 10**6
    assert parse_quantity(f"{number}{'Mi' if binary else 'M'}") == math.ceil(Fraction(str(number)) * scale)
