"""Pictures as SVG that can be read off: grid lines, values at the marks, both languages in place."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from cropland.lab.charts import Bars, Chart, Lines, Panel, Panels, Stack
from cropland.lab.claim import Words
from cropland.lab.measure import Number

Say = Callable[[str], Words]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 290, 58, 16, 14, 46  # in pixels of a narrow screen
ROW = 40
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#6b4ba1", "#64706a")  # Okabe and Ito


def draw(chart: Chart, say: Say) -> str:
    """A figure: title, picture, legend."""
    match chart:
        case Lines():
            body = _lines(chart, say)
        case Bars():
            body = _bars(chart, say)
        case Stack():
            body = _stack(chart, say)
        case Panels():
            body = _panels(chart, say)
    wide = " class=wide" * isinstance(chart, Panels)
    return f"<figure{wide}><figcaption>{spans(say(chart.title))}</figcaption>{body}</figure>"


def spans(words: Words) -> str:
    """Both languages, one of which the page shows; what stands in backticks is code."""
    english, chinese = (re.sub("`([^`]+)`", r"<code>\1</code>", escape(said)) for said in (words.en, words.zh))
    if english == chinese:
        return english
    return f'<span class="en">{english}</span><span class="zh" lang="zh">{chinese}</span>'


def _lines(chart: Lines, say: Say) -> str:
    values = [v for curve in chart.curves.values() for v in curve if v is not None]
    ends = [end for v in values for end in (v.low, v.high) if math.isfinite(end)]
    x = axis_of(chart.at, LEFT, WIDTH - RIGHT, log=chart.log_x)
    y = axis_of([*ends, *(v.value for v in values), *chart.levels.values()], HEIGHT - BOTTOM, TOP, log=chart.log_y)
    grid = "".join(_row_line(y, at) for at in y.ticks) + "".join(_column_line(x, at) for at in _marks(chart, x))
    curves = "".join(
        _curve(chart.at, curve, x, y, colour=COLOURS[number % len(COLOURS)])
        for number, curve in enumerate(chart.curves.values())
    )
    levels = "".join(
        f'<path class="level" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>'
        + _text(say(f"{name}"), WIDTH - RIGHT, y(value) - 4, "end")
        for name, value in chart.levels.items()
    )
    names = _text(say(chart.x), (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "middle")
    title = f'<p class="axis">{spans(say(chart.y))}</p>'
    return title + _svg(HEIGHT, grid + curves + levels + names) + _legend(chart.curves, say)


def _marks(chart: Lines, x: Axis) -> Sequence[float]:
    """On a logarithmic axis the few measured places, which are what is read off."""
    return chart.at if chart.log_x and len(chart.at) <= 8 else x.ticks


def _curve(at: Sequence[float], curve: Sequence[Number | None], x: Axis, y: Axis, *, colour: str) -> str:
    known = [(x(a), v) for a, v in zip(at, curve, strict=True) if v is not None]
    line = " ".join(f"{a:.1f},{y(v.value):.1f}" for a, v in known)
    spread = [(a, v) for a, v in known if math.isfinite(v.low) and math.isfinite(v.high)]
    band = " ".join(
        [f"{a:.1f},{y(v.high):.1f}" for a, v in spread] + [f"{a:.1f},{y(v.low):.1f}" for a, v in reversed(spread)]
    )
    dots = "".join(
        f'<circle cx="{a:.1f}" cy="{y(v.value):.1f}" r="3.5"><title>{escape(f"{v}")}</title></circle>' for a, v in known
    )
    shown = f'<polygon class="band" points="{band}"/><polyline points="{line}"/>{dots}'
    return f'<g class="curve" style="--c:{colour}">{shown}</g>'


def _row_line(y: Axis, at: float) -> str:
    return f'<path class="grid" d="M{LEFT} {y(at):.1f}H{WIDTH - RIGHT}"/>' + _figure(at, LEFT - 6, y(at) + 4, "end")


def _column_line(x: Axis, at: float) -> str:
    bottom, place = HEIGHT - BOTTOM, x(at)
    anchor = "end" if place > WIDTH - RIGHT - 8 else "middle"  # the last one would be cut
    edge = WIDTH - 2 if anchor == "end" else place
    return f'<path class="grid" d="M{place:.1f} {TOP}V{bottom}"/>' + _figure(at, edge, bottom + 16, anchor)


def _bars(chart: Bars, say: Say) -> str:
    values = list(chart.bars.values())
    ends = [end for v in values for end in (v.low, v.value, v.high) if math.isfinite(end)]
    levels = [] if chart.level is None else [chart.level]
    x = axis_of([*ends, *levels, *([] if chart.log else [0.0])], 4, WIDTH - 100, log=chart.log)
    zero = x(0.0) if not chart.log else 4.0
    rows = "".join(_bar(name, number, x, zero, ROW * row, say) for row, (name, number) in enumerate(chart.bars.items()))
    height = ROW * len(values) + 4
    line = "".join(f'<path class="level" d="M{x(level):.1f} 0V{height}"/>' for level in levels)
    mark = "".join(f" · {spans(say(f'dashed line at {level:.3g}'))}" for level in levels)
    return _svg(height, line + rows) + f'<p class="axis">{spans(say(chart.unit))}{mark}</p>'


def _bar(name: str, number: Number, x: Axis, zero: float, top: float, say: Say) -> str:
    middle, left, right = top + 27, *sorted((zero, x(number.value)))
    bar = f'<rect class="bar" x="{left:.1f}" y="{middle - 7}" width="{max(1.0, right - left):.1f}" height="14" rx="3"/>'
    low, high = (x(end) if math.isfinite(end) else x(number.value) for end in (number.low, number.high))
    whisker = (
        f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"/>'
    )
    value = f'<text x="{max(right, high) + 6:.1f}" y="{middle + 5}" class="value">{escape(f"{number:value}")}</text>'
    return f"<g>{_text(say(name), 4, top + 15)}{bar}{whisker}{value}<title>{escape(f'{number}')}</title></g>"


def _stack(chart: Stack, say: Say) -> str:
    parts = list(dict.fromkeys(part for bar in chart.bars.values() for part in bar))
    colour = {part: COLOURS[number % len(COLOURS)] for number, part in enumerate(parts)}
    x = axis_of([0.0, *(sum(bar.values()) for bar in chart.bars.values())], 4, WIDTH - 70, log=False)
    rows = []
    for row, (name, bar) in enumerate(chart.bars.items()):
        at, top = 0.0, ROW * row
        rows.append(_text(say(name), 4, top + 15))
        for part, value in bar.items():
            rows.append(
                f'<rect x="{x(at):.1f}" y="{top + 20}" width="{max(0.0, x(at + value) - x(at)):.1f}" height="14" '
                f'fill="{colour[part]}"><title>{escape(_both(say(part)))}: {value:.3g}</title></rect>'
            )
            at += value
        rows.append(f'<text x="{x(at) + 6:.1f}" y="{top + 32}" class="value">{at:.3g}</text>')
    axis = f'<p class="axis">{spans(say(chart.unit))}</p>'
    return _svg(ROW * len(chart.bars) + 4, "".join(rows)) + axis + _legend(parts, say)


def _panels(chart: Panels, say: Say) -> str:
    return f'<div class="panels">{"".join(_panel(panel, say) for panel in chart.panels)}</div>'


def _panel(panel: Panel, say: Say) -> str:
    boxes = "".join(
        f'<rect class="box" style="--c:{COLOURS[(number + 1) % len(COLOURS)]}" x="{100 * (box.x - box.edge / 2):.2f}" '
        f'y="{100 * (box.y - box.edge / 2):.2f}" width="{100 * box.edge:.2f}" height="{100 * box.edge:.2f}"/>'
        for number, box in enumerate(panel.boxes)
    )
    image = f'<image href="data:image/webp;base64,{panel.image}" width="100" height="100" preserveAspectRatio="none"/>'
    picture = f'<svg viewBox="0 0 100 100" role="img">{image}{boxes}</svg>'
    about = f"<code>{escape(panel.code)}</code>" * bool(panel.code) + f"<small>{escape(panel.shape)}</small>"
    key = _legend([box.label for box in panel.boxes], say, first=1) if panel.boxes else ""
    return f'<div class="panel">{picture}<p>{spans(say(panel.caption))}</p>{about}{key}</div>'


def _legend(names: Iterable[str], say: Say, *, first: int = 0) -> str:
    keys = (
        f'<span><i style="background:{COLOURS[number % len(COLOURS)]}"></i>{spans(say(name))}</span>'
        for number, name in enumerate(names, first)
    )
    return f'<p class="legend">{"".join(keys)}</p>'


def _svg(height: float, body: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img">{body}</svg>'


def _both(words: Words) -> str:
    """What a pointer shows, which knows no style: both languages, one after the other."""
    return " / ".join(dict.fromkeys((words.en, words.zh)))


def _text(words: Words, x: float, y: float, anchor: str = "start") -> str:
    pair = (("en", words.en), ("zh", words.zh)) if words.en != words.zh else (("", words.en),)
    return "".join(
        f'<text class="{side}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'
        for side, said in pair
    )


def _figure(value: float, x: float, y: float, anchor: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_short(value)}</text>'


def _short(value: float) -> str:
    """Few characters: 20000 is 20k."""
    if 0 < abs(value) < 1e-3 or abs(value) >= 1e9:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    for factor, sign in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= factor:
            return f"{value / (1e3 if sign == 'k' else factor):.4g}{sign}"
    return f"{value:.4g}"


@dataclass(frozen=True)
class Axis:
    """A value `low` lies at place `start`, `high` at `stop`."""

    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[float, ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; beyond the ends it stays at them."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, max(value, self._least)))
        share = (value - low) / (high - low)
        return self.start + min(1.0, max(0.0, share)) * (self.stop - self.start)

    @property
    def _least(self) -> float:
        return self.low if self.log else -math.inf


def axis_of(values: Iterable[float], start: float, stop: float, *, log: bool) -> Axis:
    """An axis that holds the values, between round numbers."""
    known = [value for value in values if math.isfinite(value) and (value > 0 or not log)] or [1.0]
    low, high = min(known), max(known)
    if log:
        low, high = (low, high) if high > low else (low / 2, high * 2)
        return Axis(low, high, start, stop, _log_ticks(low, high), log=True)
    step = _round_step((high - low) or abs(high) or 1.0)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return Axis(first * step, last * step, start, stop, tuple(n * step for n in range(first, last + 1)))


def _round_step(span: float, *, parts: int = 5) -> float:
    """The smallest of 1, 2, 5 x 10^n that cuts the span into few parts."""
    power = 10.0 ** math.floor(math.log10(span / parts))
    return next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= parts)


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    decades = math.log10(high / low)
    factors = (1, 1.5, 2, 3, 4, 6, 8) if decades < 0.8 else (1, 2, 5) if decades <= 2.5 else (1,)
    ticks = tuple(f * 10.0**p for p in powers for f in factors if low * 0.999 <= f * 10.0**p <= high * 1.001)
    return ticks if len(ticks) > 1 else (low, high)
