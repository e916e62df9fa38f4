"""The page's pictures, as SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from cropland.lab.draw import COLOURS
from cropland.mapping.picture import CROP, INK, PALE
from goals import extra_memory, line

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cropland",
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": PALE,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
MEMORY_MB = 700
WIDTH, MB, MPX = 7.5, "extra memory over an empty run, MB", "megapixels"


def bars(values: Mapping[str, float], label: str, out: Path, *, own: Sequence[str] = ()) -> None:
    """One bar per name, the own ones green, with its value."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(0.9 + 0.42 * len(values))
        names = [*values][::-1]
        colours = [CROP if name in own else PALE for name in names]
        drawn = axes.barh(names, [values[name] for name in names], color=colours)
        axes.bar_label(drawn, fmt="{:.3g}", padding=3, color=INK)
        axes.set_xlabel(label)
        axes.margins(x=0.12)
        _save(figure, out)


def memory(contenders: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Extra memory over pixels, these logarithmic, with the limit that was set."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(4.2)
        for colour, (name, runs) in zip(COLOURS, contenders.items(), strict=False):
            grown = sorted((size["height"] * size["width"] / 1e6, extra) for size, extra in extra_memory(runs))
            axes.semilogx(*zip(*grown, strict=True), "o-", color=colour, label=name)
        axes.set_ylim(bottom=0)
        axes.axhline(MEMORY_MB, color=PALE, linestyle="--", label="goal at 8,192 x 8,192")
        _finish(axes, MPX, MB)
        _save(figure, out)


def time(runs: Mapping[str, Any], name: str, out: Path) -> None:
    """Seconds over pixels, with the line through them."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(3.6)
        sizes = [size for size in runs["sizes"] if "whole" in size]
        pixels = [size["height"] * size["width"] / 1e6 for size in sizes]
        start, each, _ = line(runs)
        axes.plot(pixels, [median(size["whole"]) for size in sizes], "o", color=CROP, label=name)
        axes.plot([0, max(pixels)], [start, start + each * max(pixels)], color=PALE, label="line through them")
        _finish(axes, MPX, "seconds, whole process")
        _save(figure, out)


def ranges(curves: Mapping[str, Mapping[int, Sequence[float]]], labels: tuple[str, str], out: Path) -> None:
    """A median with its 5 to 95 % over the number of machines, both logarithmic."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(3.8)
        for colour, (name, curve) in zip(COLOURS, curves.items(), strict=False):
            low, middle, high = zip(*curve.values(), strict=True)
            axes.fill_between([*curve], low, high, color=colour, alpha=0.25, linewidth=0)
            axes.loglog([*curve], middle, "o-", color=colour, label=name)
        _finish(axes, *labels)
        _save(figure, out)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _finish(axes: Axes, x: str, y: str) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")  # no powers of ten
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color=PALE, alpha=0.3)
    axes.legend(frameon=False, fontsize="small")


def _save(figure: Figure, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None})
