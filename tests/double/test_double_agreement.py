"""The double does what containerd 1.6.20 was seen to do; the end-to-end tests look at the living daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api.containerd import Client
from tests.double.agreement import SCENARIOS, Notebook

OBSERVED = json.loads(Path(__file__).with_name("observed_on_1_6_20.json").read_text())


@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_double_does_what_containerd_was_seen_to_do(name: str, client: Client) -> None:
    book = Notebook()
    await SCENARIOS[name](client, book)
    assert book.lines == OBSERVED[name], f"the double differs from containerd 1.6.20 in {name}"
