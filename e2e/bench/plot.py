"""Bars and lines as SVG, readable on light and on dark pages. Pure: numbers in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LABELS, FIGURES, MARGIN = 860, 330, 120, 12
BAR, GAP, HEADING, LEGEND = 13, 12, 34, 26
PLOT_HEIGHT = 260
COLOURS = {"containerd": "#a0703c", "cri-shim": "#2b6cb0"}
STYLE = (
    "<style>text{font:12px sans-serif;fill:#24292f}.quiet{fill:#6e7781}.axis{stroke:#8c959f}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}}</style>"
)


@dataclass(frozen=True, slots=True)
class Bars:
    """One group: an operation, with a value for each server."""

    label: str
    values: Mapping[str, float]
    unit: str


def bars(title: str, groups: Sequence[Bars]) -> str:
    """Groups of bars, each group on a scale of its own: it is the ratio that shows."""
    height = HEADING + LEGEND + sum(BAR * len(group.values) + GAP for group in groups)
    return _picture(title, height, [*_legend(), *_groups(groups)])


def _groups(groups: Sequence[Bars]) -> Iterator[str]:
    top = HEADING + LEGEND
    for group in groups:
        largest = max(group.values.values(), default=0.0) or 1.0
        middle = top + BAR * len(group.values) / 2 + 4
        yield f'<text x="{MARGIN}" y="{middle:.0f}">{escape(group.label)}</text>'
        for server, value in group.values.items():
            width = max(value / largest * (WIDTH - LABELS - FIGURES), 1.0)
            yield (
                f'<rect x="{LABELS}" y="{top}" width="{width:.1f}" height="{BAR - 2}" fill="{COLOURS[server]}"/>'
                f'<text class="quiet" x="{LABELS + width + 5:.1f}" y="{top + 10}">{number(value)} {group.unit}</text>'
            )
            top += BAR
        top += GAP


def lines(title: str, unit: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """A line for each server over a common axis that begins at zero."""
    points = [point for each in series.values() for point in each]
    widest, highest = max(x for x, _ in points), max(y for _, y in points) or 1.0
    left, right, bottom = 60, WIDTH - 30, HEADING + LEGEND + PLOT_HEIGHT

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x / widest * (right - left), bottom - y / highest * PLOT_HEIGHT

    shapes = [
        f'<path class="axis" d="M{left} {HEADING + LEGEND}V{bottom}H{right}" fill="none"/>',
        f'<text class="quiet" x="{MARGIN}" y="{HEADING + LEGEND + 4}">{number(highest)}</text>',
        f'<text class="quiet" x="{MARGIN}" y="{bottom}">0 {unit}</text>',
    ]
    shapes.extend(
        f'<text class="quiet" x="{place(x, 0)[0] - 4:.1f}" y="{bottom + 16}">{x:g}</text>'
        for x in sorted({x for x, _ in points})
    )
    for server, each in series.items():
        places = [place(x, y) for x, y in each]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        shapes.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[server]}" stroke-width="2"/>')
        shapes.extend(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[server]}"/>' for x, y in places
        )
    return _picture(title, bottom + 26, [*_legend(), *shapes])


def number(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _legend() -> Iterator[str]:
    for position, (server, colour) in enumerate(COLOURS.items()):
        left = LABELS + position * 130
        yield f'<rect x="{left}" y="{HEADING}" width="10" height="10" fill="{colour}"/>'
        yield f'<text class="quiet" x="{left + 15}" y="{HEADING + 9}">{server}</text>'


def _picture(title: str, height: float, shapes: Sequence[str]) -> str:
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    heading = f'<text x="{MARGIN}" y="22" style="font-size:15px">{escape(title)}</text>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([head, STYLE, heading, *shapes, "</svg>", ""])
