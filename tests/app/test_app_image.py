"""`cri-shim image`: what is drawn, and the documents of archives."""

from __future__ import annotations

import io
import json

import pytest

from api.containerd import Ingest
from cri.app.image import archive
from cri.app.image.progress import Bars, Layer, Lines, Progress, bar
from cri.app.image.pull import report_lines
from cri.errors import InvalidArgument

DIGEST = "sha256:" + "ab" * 32


def ingest(offset: int, total: int = 100) -> Ingest:
    return Ingest(f"layer-{DIGEST}", offset, total, DIGEST, 0, 0)


def test_a_bar_grows_with_its_layer():
    drawn = [bar(Layer(DIGEST, offset, 30_000_000)) for offset in (0, 10_000_000, 30_000_000)]
    assert [line.count("=") for line in drawn] == [0, 10, 30]
    assert drawn[1].endswith("10.0 MB / 30.0 MB")
    assert len({line.index("]") for line in drawn}) == 1, "the bars end in one column"


def test_a_layer_whose_ingest_has_gone_is_complete():
    progress = Progress()
    progress.update([ingest(40), Ingest("config-x", 1, 2, "", 0, 0)])
    assert progress.update([]) == [Layer(DIGEST, 100, 100)]


def test_bars_are_drawn_over_the_earlier_ones():
    out = io.StringIO()
    bars = Bars(out)
    for offset in (10, 20):
        bars.show([Layer(DIGEST, offset, 100)])
    assert out.getvalue().count("\x1b[1A") == 1
    assert out.getvalue().count("\n") == 2


def test_lines_say_each_thing_once():
    out = io.StringIO()
    lines = Lines(out)
    for offset in (0, 10, 20, 100, 100):
        lines.show([Layer(DIGEST, offset, 100)])
    assert [line.split()[1] for line in out.getvalue().splitlines()] == ["fetching", "fetched"]


def test_the_report_names_mirror_and_reuse():
    report = {"reference": "a/b:1", "host": "mirror.example", "layers": 5, "reused_layers": 2, "seconds": 1.5}
    text = "\n".join(report_lines(report))
    assert "mirror.example" in text
    assert "5, of which 2 were there" in text
    assert report_lines({}) == []


def test_names_come_from_annotations_or_from_the_caller():
    def index(**annotations: str) -> bytes:
        entry = {"mediaType": "m", "digest": DIGEST, "size": 1, "annotations": annotations}
        return json.dumps({"manifests": [entry]}).encode()

    full, short = archive.FULL_NAME, archive.REF_NAME
    assert (
        archive.names_of(index(**{full: "docker.io/library/x:1", short: "1"}), "")[0].name
        == "docker.io/library/x:1"
    )
    assert archive.names_of(index(**{short: "1"}), "example.org/x")[0].name == "example.org/x:1"
    with pytest.raises(InvalidArgument, match="--name"):
        archive.names_of(index(**{short: "1"}), "")
    with pytest.raises(InvalidArgument, match=archive.INDEX):
        archive.names_of(b"[]", "")
