"""Draws a pod's start as a Gantt chart, in text and as SVG. Pure.

One row for each operation and, indented, for each of its stages, on one time axis that begins with the first of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cri.observe.timelines import Timeline

BAR_WIDTH = 60
"""Characters."""
SECOND = 1_000_000_000

PICTURE_WIDTH, LABEL_WIDTH, ROW_HEIGHT = 1000, 330, 20
MARGIN, HEADING = 10, 50


@dataclass(frozen=True, slots=True)
class Row:
    """One bar: where it begins and how long it is, in seconds since the pod's start began."""

    label: str
    begin: float
    seconds: float
    depth: int
    ok: bool


def rows(timeline: Timeline) -> list[Row]:
    """The bars of a timeline in order of their beginning, stages under their operation."""
    operations = timeline["operations"]
    if not operations:
        return []
    origin = min(each["began_at"] for each in operations)
    found = []
    for operation in operations:
        begin = (operation["began_at"] - origin) / SECOND
        ok = operation["outcome"] == "ok"
        label = " ".join(filter(None, (operation["operation"], operation["object"])))
        found.append(
            Row(label if ok else f"{label} ({operation['outcome']})", begin, operation["seconds"], 0, ok)
        )
        found.extend(
            Row(stage["name"], begin + stage["begin"], stage["seconds"], 1, ok)
            for stage in sorted(operation["stages"], key=lambda each: each["begin"])
        )
    return found


def text_chart(timeline: Timeline) -> str:
    """The chart for a terminal."""
    bars = rows(timeline)
    if not bars:
        return f"{timeline['pod']}: nothing is remembered of its start\n"
    total = _total(bars)
    labels = ["  " * bar.depth + bar.label for bar in bars]
    width = max(map(len, labels))
    lines = [
        f"{timeline['pod']}  uid {timeline['uid']}  sandbox {timeline['sandbox'][:13]}",
        f"{'':{width}}  {'ms':>9}  0{f'{total * 1000:.0f} ms':>{BAR_WIDTH}}",
    ]
    for label, bar in zip(labels, bars, strict=True):
        lines.append(f"{label:{width}}  {bar.seconds * 1000:9.1f}  |{_bar(bar, total):{BAR_WIDTH}}|")
    return "\n".join(lines) + "\n"


def svg_chart(timeline: Timeline) -> str:
    """The chart as a picture."""
    bars = rows(timeline)
    height = HEADING + ROW_HEIGHT * len(bars) + MARGIN
    size = f'width="{PICTURE_WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{MARGIN}" y="20" font-size="14">{escape(timeline["pod"])}</text>',
            f'<text x="{MARGIN}" y="38" fill="#666">uid {escape(timeline["uid"])}</text>',
            *_svg_rows(bars),
            "</svg>",
            "",
        ]
    )


def _svg_rows(bars: Sequence[Row]) -> Iterator[str]:
    total = _total(bars) if bars else 1.0
    scale = (PICTURE_WIDTH - LABEL_WIDTH - 90) / total
    for number, bar in enumerate(bars):
        top = HEADING + ROW_HEIGHT * number
        color = ("#2b6cb0" if bar.depth == 0 else "#90cdf4") if bar.ok else "#c53030"
        left, width = LABEL_WIDTH + bar.begin * scale, max(bar.seconds * scale, 1.0)
        yield f'<text x="{MARGIN + 16 * bar.depth}" y="{top + 14}">{escape(bar.label)}</text>'
        yield (
            f'<rect x="{left:.1f}" y="{top + 3}" width="{width:.1f}" height="{ROW_HEIGHT - 6}" fill="{color}">'
            f"<title>{escape(bar.label)}: {bar.begin * 1000:.1f} ms + {bar.seconds * 1000:.1f} ms</title></rect>"
        )
        yield (
            f'<text x="{left + width + 4:.1f}" y="{top + 14}" fill="#666">{bar.seconds * 1000:.1f} ms</text>'
        )


def _total(bars: Sequence[Row]) -> float:
    return max(max(bar.begin + bar.seconds for bar in bars), 1e-6)


def _bar(bar: Row, total: float) -> str:
    left = min(int(bar.begin / total * BAR_WIDTH), BAR_WIDTH - 1)
    length = max(round(bar.seconds / total * BAR_WIDTH), 1)
    return " " * left + ("█" if bar.depth == 0 else "▒") * min(length, BAR_WIDTH - left)
