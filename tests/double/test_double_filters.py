"""containerd's filter language as the double reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.double.filters import compile_filters, lookup_in
from tests.double.refusals import Refusal

POD = lookup_in(
    {"id": "c1", "runtime.name": "runc", "image": "", "labels": {"a": "1", "x.y/z": "2", "e": ""}}
)


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ((), True),
        (("",), True),
        (("id==c1",), True),
        (("id==c2",), False),
        (("id!=c2",), True),
        (("id~=^c[0-9]$",), True),
        (("id~=/^c/",), True),
        (("runtime.name==runc",), True),
        (("image",), False),
        (("labels.a",), True),
        (("labels.e",), True),
        (("labels.b",), False),
        (("labels.b!=1",), True),
        (('labels."x.y/z"==2',), True),
        (('labels."a"=="1"',), True),
        (("id==c1,labels.a==1",), True),
        (("id==c1,labels.a==2",), False),
        (("id==c2", "labels.a==1"), True),
    ],
)
def test_matching(filters: tuple[str, ...], matches: bool) -> None:
    assert compile_filters(filters)(POD) is matches


@pytest.mark.parametrize("text", ["==x", "labels.", "a=1", "a==", "a==1 b==2", '"a'])
def test_bad_syntax_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="parse error"):
        compile_filters([text])


@given(
    st.text(
        st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["Cc", "Cs"]), min_size=1
    )
)
def test_any_label_can_be_asked_for_when_quoted(key: str) -> None:
    labelled = lookup_in({"labels": {key: "value"}})
    assert compile_filters([f'labels."{key}"==value'])(labelled)
