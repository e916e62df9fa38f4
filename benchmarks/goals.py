"""Goals, and the figures that decide them."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

Figures = Mapping[str, Mapping[str, Any]]  # of each question
DEFAULT, FLOAT32 = "cropland, probability and mask", "cropland, probability and mask, float32"
LOOP, TERRATORCH, GEOAI = "plain loop, eager PyTorch", "TerraTorch, tiled_inference", "geoai, predict_geotiff"
MAP = "cropland map"
TRAINING, TRAINING_LOOP = "cropland", "segmentation-models-pytorch + plain loop"


@dataclass(frozen=True)
class Goal:
    """One row of the page; `measured` is None where the question was not asked or had no answer."""

    says: str
    measured: float | None
    limit: float
    is_least: bool
    reason: str

    @property
    def verdict(self) -> str:
        """As the page says it."""
        if self.measured is None:
            return "not measured"
        return "met" if (self.measured >= self.limit) == self.is_least or self.measured == self.limit else "missed"

    @property
    def wanted(self) -> str:
        """The limit with its direction."""
        return f"{'≥' if self.is_least else '≤'} {self.limit:g}"


def read_goals(figures: Figures) -> list[Goal]:
    """All goals, decided by these figures."""
    listed = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["goal"]
    return [_goal(each, figures) for each in listed]


def _goal(plain: Mapping[str, Any], figures: Figures) -> Goal:
    try:
        measured = FIGURES[plain["figure"]](figures)
    except KeyError:  # a question without results, a contender without runs
        measured = None
    is_least = "least" in plain
    return Goal(plain["says"], measured, plain["least" if is_least else "most"], is_least, plain["reason"])


def peers_of(figures: Figures) -> dict[str, Mapping[str, Any]]:
    """The contenders that are not cropland, and that ran."""
    contenders = figures["peers"]["contenders"]
    return {name: runs for name, runs in contenders.items() if not name.startswith("cropland") and "seconds" in runs}


def times_as_long(one: Sequence[float], other: Sequence[float]) -> float:
    """The median of the ratios, round by round."""
    return median(a / b for a, b in zip(one, other, strict=True))


def _against(own: str, peer: str) -> Callable[[Figures], float]:
    def figure(figures: Figures) -> float:
        contenders = figures["peers"]["contenders"]
        return times_as_long(contenders[peer]["seconds"], contenders[own]["seconds"])

    return figure


def _against_fastest(own: str, what: str) -> Callable[[Figures], float]:
    def figure(figures: Figures) -> float | None:
        mine = figures["peers"]["contenders"][own][what]
        return min((times_as_long(runs[what], mine) for runs in peers_of(figures).values()), default=None)

    return figure


def extra_memory(runs: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], float]]:
    """Each size that ran, with its extra peak over the empty run in MB."""
    empty = median(runs["empty"]["peak_mb"])
    return [(size, median(size["peak_mb"]) - empty) for size in runs["sizes"] if "peak_mb" in size]


def _memory(figures: Figures) -> float:
    return _at(extra_memory(figures["sizes"][MAP]), 8192, 8192)


def _memory_flat(figures: Figures) -> float:
    grown = extra_memory(figures["sizes"][MAP])
    return max(extra for _, extra in grown) / _at(grown, 8192, 8192)


def _at(grown: Sequence[tuple[Mapping[str, Any], float]], height: int, width: int) -> float:
    return {(size["height"], size["width"]): extra for size, extra in grown}[height, width]


def line(runs: Mapping[str, Any]) -> tuple[float, float, list[float]]:
    """Seconds to start, seconds per megapixel, and each size's distance from that line as a share of its seconds.

    Least squares of the shares, so that small scenes count as much as large ones.
    """
    sizes = [size for size in runs["sizes"] if "whole" in size]
    pixels = np.array([size["height"] * size["width"] / 1e6 for size in sizes])
    seconds = np.array([median(size["whole"]) for size in sizes])
    equations = np.stack([np.ones_like(pixels), pixels], axis=1) / seconds[:, None]
    (start, each), *_ = np.linalg.lstsq(equations, np.ones_like(seconds), rcond=None)
    return float(start), float(each), list((start + each * pixels) / seconds - 1)


def _linear(figures: Figures) -> float | None:
    runs = figures["sizes"][MAP]
    return max(map(abs, line(runs)[2])) if sum("whole" in size for size in runs["sizes"]) > 2 else None


def _end_to_end(figures: Figures) -> float:
    rates = figures["breakdown"]["rates"]
    return times_as_long(rates["probability and mask"], rates["lone tiles, no overlap"])


def _training_rate(figures: Figures) -> float:
    contenders = figures["training"]["contenders"]
    return times_as_long(contenders[TRAINING_LOOP]["seconds"], contenders[TRAINING]["seconds"])


def _training_step(figures: Figures) -> float:
    runs = figures["training"]["contenders"][TRAINING]
    return median(1 - waited / all_ for waited, all_ in zip(runs["waiting"], runs["seconds"], strict=True))


FIGURES: dict[str, Callable[[Figures], float | None]] = {
    "default_loop": _against(DEFAULT, LOOP),
    "default_terratorch": _against(DEFAULT, TERRATORCH),
    "default_geoai": _against(DEFAULT, GEOAI),
    "default_fastest": _against_fastest(DEFAULT, "seconds"),
    "whole_fastest": _against_fastest(MAP, "whole"),
    "float32_loop": _against(FLOAT32, LOOP),
    "float32_terratorch": _against(FLOAT32, TERRATORCH),
    "float32_geoai": _against(FLOAT32, GEOAI),
    "float32_fastest": _against_fastest(FLOAT32, "seconds"),
    "end_to_end": _end_to_end,
    "roofline": lambda figures: figures["roofline"]["fastest"]["reached"],
    "memory": _memory,
    "memory_flat": _memory_flat,
    "linear": _linear,
    "start": lambda figures: median(figures["start"]["seconds"]) if figures["start"]["seconds"] else None,
    "training_rate": _training_rate,
    "training_step": _training_step,
}
