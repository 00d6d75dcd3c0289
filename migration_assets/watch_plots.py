"""The figures of all looks as one SVG: a small plot for each measure, its limit as a line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

from migration_assets.core.watch import MEASURES, Look, Measure

COLUMNS = 3
WIDTH, HEIGHT = 300, 110
"""Of one plot, in pixels."""
_LEFT, _TOP, _BOTTOM = 8, 34, 14

_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #4a5568 }
.name { font-weight: 600; fill: #1a202c }
.line { fill: none; stroke: #2b6cb0; stroke-width: 1.5 }
.limit { stroke: #c05621; stroke-dasharray: 4 3 }
.ok { fill: #2b6cb0 } .bad { fill: #c53030 }
"""


def plots(looks: Sequence[Look]) -> str:
    """The SVG document.

    Args:
        looks: the oldest first, at least one.
    """
    times = [datetime.fromisoformat(look.at).timestamp() for look in looks]
    cells = []
    for number, name in enumerate(MEASURES):
        x, y = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
        points = [
            (time, measure)
            for time, look in zip(times, looks, strict=True)
            for measure in look.measures
            if measure.name == name
        ]
        plot = _plot(name, points, times[0], times[-1])
        cells.append(f'<g transform="translate({x} {y})">{plot}</g>')
    rows = -(-len(MEASURES) // COLUMNS)
    size = f'width="{COLUMNS * WIDTH}" height="{rows * HEIGHT + 20}"'
    first, last = looks[0].at, looks[-1].at
    caption = f"{len(looks)} looks, {first} to {last}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        f'<title>{caption}</title><style>{_STYLE}</style><rect width="100%" height="100%" '
        f'fill="#fff"/>{"".join(cells)}'
        f'<text x="{_LEFT}" y="{rows * HEIGHT + 14}">{caption}</text></svg>'
    )


def _plot(name: str, points: list[tuple[float, Measure]], first: float, last: float) -> str:
    title = f'<text class="name" x="{_LEFT}" y="14">{name}</text>'
    known = [(time, m, m.value) for time, m in points if m.value is not None]
    if not known:
        why = points[-1][1].detail if points else ""
        return f'{title}<text x="{_LEFT}" y="30">{escape(why[:47])}</text>'
    limit = known[-1][1].limit
    top = max(limit, *(value for _, _, value in known)) * 1.05 or 1.0
    width = WIDTH - 2 * _LEFT

    def across(time: float) -> float:
        return _LEFT + (width * (time - first) / (last - first) if last > first else width)

    def down(value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - value / top)

    line = " ".join(f"{across(time):.1f},{down(value):.1f}" for time, _, value in known)
    dots = "".join(
        f'<circle class="{"ok" if m.passed else "bad"}" cx="{across(time):.1f}" '
        f'cy="{down(value):.1f}" r="2.5"/>'
        for time, m, value in known
        if not m.passed or time == known[-1][0]
    )
    level = f"{down(limit):.1f}"
    return (
        f'{title}<text x="{_LEFT}" y="28">{escape(known[-1][1].line()[:47])}</text>'
        f'<line class="limit" x1="{_LEFT}" x2="{WIDTH - _LEFT}" y1="{level}" y2="{level}"/>'
        f'<polyline class="line" points="{line}"/>{dots}'
    )
