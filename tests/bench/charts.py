"""Charts as plain SVG text: bars that compare servers, lines that show growth.

No colour is needed to read them; both follow the reader's light or dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from attrs import frozen

from tests.bench.results import Spread

WIDTH = 760
_STYLE = """
text { font: 12px sans-serif; fill: #222 }
.title { font-weight: bold } .small { font-size: 11px; fill: #555 } .end { text-anchor: end }
.middle { text-anchor: middle }
.ours { fill: #1668a8 } .theirs { fill: #9aa5b1 } .spread, .axis { stroke: #444; fill: none }
.grid { stroke: #ddd } .s0 { stroke: #1668a8; fill: #1668a8 } .s1 { stroke: #c2410c; fill: #c2410c }
.s2 { stroke: #4d7c0f; fill: #4d7c0f } polyline { fill: none !important; stroke-width: 2 }
.background { fill: #fff }
@media (prefers-color-scheme: dark) {
 text { fill: #ddd } .small { fill: #aaa } .background { fill: #16181c } .grid { stroke: #333 }
 .spread, .axis { stroke: #bbb } .theirs { fill: #5b6570 } .ours { fill: #4da3e0 }
}
"""


@frozen
class Bar:
    name: str
    figure: Spread
    is_ours: bool = False


@frozen
class Panel:
    """One cell: its bars share a scale of their own."""

    title: str
    bars: Sequence[Bar]


@frozen
class Line:
    """One thing over sizes; points need not be in order."""

    name: str
    points: Sequence[tuple[float, float]]


@frozen
class Course:
    """What became of something over time, on a scale of its own that begins at 0."""

    title: str
    drawn: Sequence[Line]


def number(figure: float) -> str:
    """Three digits, thousands parted; never an exponent."""
    if figure == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(figure))))
    text = f"{round(figure, 2 - math.floor(math.log10(abs(figure)))):,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def bars(title: str, panels: Sequence[Panel]) -> str:
    """Horizontal bars to the median, a stroke from the least to the most."""
    out: list[str] = []
    y = 46.0
    for panel in panels:
        out.append(_text(12, y, panel.title, "title"))
        y += 8
        most = max((bar.figure.most for bar in panel.bars), default=0) or 1
        scale = 430 / most
        for bar in panel.bars:
            kind = "ours" if bar.is_ours else "theirs"
            spread = bar.figure
            middle = y + 9
            out.append(_text(150, middle + 4, bar.name, "end"))
            out.append(
                f'<rect class="{kind}" x="160" y="{y + 2:.1f}" '
                f'width="{spread.median * scale:.1f}" height="14"/>'
            )
            out.append(
                f'<path class="spread" d="M{160 + spread.least * scale:.1f} {middle:.1f}'
                f'H{160 + spread.most * scale:.1f}"/>'
            )
            out.append(_text(168 + spread.most * scale, middle + 4, number(spread.median), "small"))
            y += 18
        y += 26
    return _document(title, "bar: median; stroke: least to most", y - 14, out)


def lines(title: str, x_name: str, y_name: str, drawn: Sequence[Line]) -> str:
    """Lines over sizes on a logarithmic scale; the other scale begins at 0."""
    points = [point for line in drawn for point in line.points]
    left, right, top, bottom = 70.0, WIDTH - 190.0, 60.0, 300.0
    sizes = sorted({x for x, _ in points})
    low, high = math.log10(max(sizes[0], 1e-9)), math.log10(max(sizes[-1], 1e-9))
    most = max(y for _, y in points) * 1.1 or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        part = (math.log10(max(x, 1e-9)) - low) / (high - low) if high > low else 0.5
        return left + part * (right - left), bottom - y / most * (bottom - top)

    out: list[str] = []
    for step in _steps(most):
        _, y = at(sizes[0], step)
        out.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        out.append(_text(left - 8, y + 4, number(step), "small end"))
    for size in sizes:
        x, _ = at(size, 0)
        out.append(_text(x, bottom + 18, number(size), "small middle"))
    out.append(f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>')
    out.append(_text((left + right) / 2, bottom + 38, x_name, "middle"))
    for index, line in enumerate(drawn):
        placed = [at(x, y) for x, y in sorted(line.points)]
        kind = f"s{index % 3}"
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        out.append(f'<polyline class="{kind}" points="{path}"/>')
        out += [f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in placed]
        legend = top + 18 * index
        out.append(f'<path class="{kind}" d="M{right + 14} {legend}h16" stroke-width="3"/>')
        out.append(_text(right + 36, legend + 4, line.name, "small"))
    return _document(title, y_name, bottom + 50, out)


def courses(
    title: str, x_name: str, panels: Sequence[Course], marks: Sequence[tuple[float, str]] = ()
) -> str:
    """Panels one below the other over the same time, which begins at 0.

    Args:
        marks: moments, and a letter that stands above a line through all panels.
    """
    left, right, height = 70.0, WIDTH - 190.0, 120.0
    last = max(x for panel in panels for line in panel.drawn for x, _ in line.points) or 1.0

    def across(x: float) -> float:
        return left + x / last * (right - left)

    out: list[str] = []
    y = 60.0
    for panel in panels:
        bottom = y + height
        scale = height / (max(y for line in panel.drawn for _, y in line.points) * 1.1 or 1.0)
        out.append(_text(12, y - 8, panel.title, "title"))
        for step in _steps(height / scale):
            out.append(f'<path class="grid" d="M{left} {bottom - step * scale:.1f}H{right}"/>')
            out.append(_text(left - 8, bottom - step * scale + 4, number(step), "small end"))
        out.append(f'<path class="axis" d="M{left} {y}V{bottom}H{right}"/>')
        for index, line in enumerate(panel.drawn):
            kind = f"s{index % 3}"
            path = " ".join(f"{across(x):.1f},{bottom - v * scale:.1f}" for x, v in line.points)
            out.append(f'<polyline class="{kind}" points="{path}"/>')
            out.append(f'<path class="{kind}" d="M{right + 14} {y + 18 * index}h16"/>')
            out.append(_text(right + 36, y + 4 + 18 * index, line.name, "small"))
        y = bottom + 46
    for x, letter in marks:
        out.append(f'<path class="grid" d="M{across(x):.1f} 46V{y - 46}"/>')
        out.append(_text(across(x), 44, letter, "small middle"))
    for step in _steps(last):
        out.append(_text(across(step), y - 30, number(step), "small middle"))
    out.append(_text((left + right) / 2, y - 10, x_name, "middle"))
    return _document(title, "", y, out)


def _steps(most: float) -> Iterator[float]:
    """Three to seven round numbers from 0 up to this."""
    rough = most / 5
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
    count = 0
    while count * step <= most:
        yield count * step
        count += 1


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _document(title: str, note: str, height: float, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img">'
    )
    begun = [head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>"]
    begun.append('<rect class="background" width="100%" height="100%"/>')
    begun += [_text(12, 20, title, "title"), _text(WIDTH - 12, 20, note, "small end")]
    return "\n".join([*begun, *body, "</svg>", ""])
