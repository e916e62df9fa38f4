"""Scores of chips and blocks, pooled by group and over all, as plain values."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from cropland.evaluation.boundary import boundary_counts, boundary_f1
from cropland.evaluation.counts import METRICS, Counts, best_threshold, count, count_at, histogram
from cropland.probability import LEVELS, ONE

__all__ = ["Part", "Picture", "Score", "add_up", "figures", "iou_interval", "metrics", "score"]

FORMAT = 1  # of metrics.json
ONE_CLASS = ("false_alarm", "recall", "accuracy")
DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True, eq=False)
class Score:
    """Counts of pixels, of boundary pixels per tolerance, and of probabilities (zeros for a mask); add to pool."""

    counts: Counts
    edges: Int64[np.ndarray, "tolerance 4"]
    levels: Int64[np.ndarray, "2 255"]

    def __add__(self, other: Score) -> Score:
        return Score(self.counts + other.counts, self.edges + other.edges, self.levels + other.levels)


class Picture(NamedTuple):
    """The image as RGB where there is one, and both masks, for a person to look at."""

    rgb: UInt8[np.ndarray, "height width 3"] | None
    prediction: UInt8[np.ndarray, "height width"]
    reference: UInt8[np.ndarray, "height width"]


@dataclass(frozen=True, eq=False)
class Part:
    """One chip, or one block of a mask: its score, split by group, and how to draw it.

    Parts of one `block` lie on the same ground and are not independent of each other.
    """

    name: str
    total: Score
    groups: Mapping[str, Score]
    block: str
    draw: Callable[[], Picture]


def score(
    prediction: UInt8[np.ndarray, "height width"],
    reference: UInt8[np.ndarray, "height width"],
    *,
    pixel_m: tuple[float, float],
    tolerances_m: Sequence[float],
    probability: UInt8[np.ndarray, "height width"] | None = None,
    core: tuple[slice, slice] = np.s_[:, :],
) -> Score:
    """The score of a mask against its reference within `core`; the rest is context for boundaries only."""
    edges = boundary_counts(prediction, reference, pixel_m=pixel_m, tolerances_m=tolerances_m, core=core)
    levels = np.zeros((2, 255), np.int64) if probability is None else histogram(probability[core], reference[core])
    return Score(count(prediction[core], reference[core]), edges, levels)


def add_up(scores: Iterable[Score]) -> Score:
    """The pool of one or more scores."""
    first, *others = scores
    return sum(others, first)


def metrics(parts: Sequence[Part], *, tolerances_m: Sequence[float]) -> dict[str, Any]:
    """All metrics as plain values for metrics.json, null where they are not defined."""
    pooled = add_up(part.total for part in parts)
    groups = defaultdict(list)
    for part in parts:
        for name, its in part.groups.items():
            groups[name].append(its)
    rows = [{"name": part.name, "groups": sorted(part.groups)} | _all(part.total, tolerances_m) for part in parts]
    return {
        "format": FORMAT,
        "pooled": _all(pooled, tolerances_m) | {"iou_interval": iou_interval(parts)},
        "all_cropland": figures(pooled.counts.all_cropland),
        "thresholds": _thresholds(pooled.levels) if pooled.levels.any(axis=1).all() else None,
        "mean_of_parts": {name: _mean(row[name] for row in rows) for name in METRICS},
        "groups": {name: {"parts": len(its)} | _all(add_up(its), tolerances_m) for name, its in sorted(groups.items())},
        "parts": rows,
    }


def figures(counts: Counts) -> dict[str, float | None]:
    """Every metric by its name, None where it is not defined.

    Where all known pixels are of one class, IoU and the other comparisons only repeat recall or false alarm (and are at
    times 0 or 1 by definition): they are None too.
    """
    named = METRICS if _both_classes(counts) else ONE_CLASS
    return {name: _plain(getattr(counts, name)) if name in named else None for name in METRICS}


def iou_interval(parts: Sequence[Part]) -> list[float] | None:
    """The 95 % interval of the pooled IoU: bootstrap over blocks of ground (Efron 1979, doi:10.1214/aos/1176344552).

    None with fewer than two blocks, or without cropland.
    """
    blocks: dict[str, Counts] = defaultdict(Counts)
    for part in parts:
        blocks[part.block] += part.total.counts
    if len(blocks) < 2:
        return None
    table = np.array([astuple(counts) for counts in blocks.values()])
    times = np.random.default_rng(0).multinomial(len(table), np.full(len(table), 1 / len(table)), DRAWS)
    tp, fp, fn, _ = (times @ table).T
    iou = (tp / np.maximum(tp + fp + fn, 1))[tp + fp + fn > 0]
    return [float(edge) for edge in np.percentile(iou, (2.5, 97.5))] if len(iou) else None


def _all(its: Score, tolerances_m: Sequence[float]) -> dict[str, Any]:
    found = boundary_f1(its.edges) if _both_classes(its.counts) else np.full(len(tolerances_m), math.nan)
    edges = {f"{metres:g}": _plain(float(f1)) for metres, f1 in zip(tolerances_m, found, strict=True)}
    return asdict(its.counts) | figures(its.counts) | {"boundary_f1": edges}


def _both_classes(counts: Counts) -> bool:
    return counts.tp + counts.fn > 0 and counts.fp + counts.tn > 0


def _thresholds(levels: Int64[np.ndarray, "2 255"]) -> dict[str, Any]:
    best = best_threshold(levels)
    curve = [[level / ONE, count_at(levels, level / ONE).iou] for level in range(0, LEVELS, 2)]
    return {"best": best, "best_iou": count_at(levels, best).iou, "curve": curve}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
