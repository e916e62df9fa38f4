"""Scores of chips and blocks, pooled by group and over all, as plain values."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from functools import partial
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from cropland.evaluation.bootstrap import differences, intervals
from cropland.evaluation.boundary import boundary_counts, boundary_distance_m, boundary_f1
from cropland.evaluation.counts import METRICS, Counts, best_threshold, count, count_at, histogram
from cropland.evaluation.fields import FieldCounts, field_figures, field_rates, size_names
from cropland.geo.window import Window
from cropland.probability import LEVELS, ONE

__all__ = ["Part", "Picture", "Score", "add_up", "compared", "figures", "metrics", "score"]

FORMAT = 2  # of metrics.json
NOWHERE = Window(0, 0, 0, 0)
ONE_CLASS = ("false_alarm", "recall", "accuracy")


@dataclass(frozen=True, eq=False)
class Score:
    """Counts of pixels, of boundary pixels per tolerance, of probabilities (zeros for a mask) and of fields; add to
    pool."""

    counts: Counts
    edges: Float64[np.ndarray, "tolerance 6"]
    levels: Int64[np.ndarray, "2 255"]
    fields: FieldCounts = FieldCounts()  # noqa: RUF009 - frozen

    def __add__(self, other: Score) -> Score:
        return Score(
            self.counts + other.counts,
            self.edges + other.edges,
            self.levels + other.levels,
            self.fields + other.fields,
        )


class Picture(NamedTuple):
    """The image as RGB where there is one, and both masks, for a person to look at."""

    rgb: UInt8[np.ndarray, "height width 3"] | None
    prediction: UInt8[np.ndarray, "height width"]
    reference: UInt8[np.ndarray, "height width"]


@dataclass(frozen=True, eq=False)
class Part:
    """One chip, or one block of a map: its score, split by group, where it lies, and how to draw it.

    Parts of one `block` lie on the same ground and are not independent of each other. source, window: the scene, and
    the pixels of its grid. sizes: its fields by size class. worst: where in it most pixels are wrong, and how many.
    """

    name: str
    total: Score
    groups: Mapping[str, Score]
    block: str
    draw: Callable[[], Picture]
    source: str = ""
    window: Window = NOWHERE
    sizes: Mapping[int, FieldCounts] = field(default_factory=dict)
    worst: tuple[tuple[Window, int], ...] = ()


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


def metrics(
    parts: Sequence[Part], *, tolerances_m: Sequence[float], complete: bool, whole_groups: bool = True
) -> dict[str, Any]:
    """All metrics as plain values for metrics.json, null where they are not defined.

    complete: the reference holds every field, so that a predicted field without a partner is false. whole_groups: so
    it is within groups.
    """
    pooled = add_up(part.total for part in parts)
    groups = defaultdict(list)
    for part in parts:
        for name, its in part.groups.items():
            groups[name].append(its)
    how: dict[str, Any] = {"tolerances_m": tolerances_m, "complete": complete}
    rows = [
        {"name": part.name, "source": part.source, "window": list(part.window), "groups": sorted(part.groups)}
        | _all(part.total, **how)
        for part in parts
    ]
    return {
        "format": FORMAT,
        "pooled": _all(pooled, **how) | {"intervals": intervals(_sums(parts), partial(_rates, **how))},
        "all_cropland": figures(pooled.counts.all_cropland),
        "thresholds": _thresholds(pooled.levels) if pooled.levels.any(axis=1).all() else None,
        "mean_of_parts": {name: _mean(row[name] for row in rows) for name in METRICS},
        "field_sizes": _field_sizes(parts, complete=complete),
        "groups": {
            name: {"parts": len(its)} | _all(add_up(its), tolerances_m=tolerances_m, complete=complete and whole_groups)
            for name, its in sorted(groups.items())
        },
        "parts": rows,
    }


def compared(
    first: Sequence[Part], second: Sequence[Part], *, tolerances_m: Sequence[float], complete: bool
) -> dict[str, dict[str, Any]]:
    """Every figure of two models or maps on the same ground, and the first less the second with its 95 % interval.

    The interval is paired: both are drawn on the same blocks of ground.
    """
    rates = partial(_rates, tolerances_m=tolerances_m, complete=complete)
    one, other = (_sums(parts, blocks=_blocks(first)) for parts in (first, second))
    ours, theirs = rates(one.sum(axis=0)), rates(other.sum(axis=0))
    bounds = differences(one, other, rates)
    return {
        name: {
            "first": _plain(float(ours[name])),
            "second": _plain(float(theirs[name])),
            "difference": _plain(float(ours[name] - theirs[name])),
            "interval": bounds.get(name),
        }
        for name in ours
    }


def figures(counts: Counts) -> dict[str, float | None]:
    """Every metric by its name, None where it is not defined.

    Where all known pixels are of one class, IoU and the other comparisons only repeat recall or false alarm (and are at
    times 0 or 1 by definition): they are None too.
    """
    named = METRICS if counts.has_both_classes else ONE_CLASS
    return {name: _plain(getattr(counts, name)) if name in named else None for name in METRICS}


def _blocks(parts: Sequence[Part]) -> list[str]:
    return list(dict.fromkeys(part.block for part in parts))


def _sums(parts: Sequence[Part], *, blocks: Sequence[str] | None = None) -> Float64[np.ndarray, "block column"]:
    """Counts of pixels, boundaries and fields of each block side by side."""
    names = _blocks(parts) if blocks is None else blocks
    sums = np.zeros((len(names), len(_row(parts[0].total))))
    row = {name: number for number, name in enumerate(names)}
    for part in parts:
        sums[row[part.block]] += _row(part.total)
    return sums


def _row(its: Score) -> Float64[np.ndarray, " column"]:
    return np.concatenate([astuple(its.counts), its.edges.ravel(), its.fields.values])


def _rates(
    sums: Float64[np.ndarray, "*draw column"], *, tolerances_m: Sequence[float], complete: bool
) -> dict[str, Any]:
    """What has an interval, from sums as `_sums` lays them out; nan where `figures` has None."""
    last = 4 + 6 * len(tolerances_m)
    counts = Counts(*np.moveaxis(sums[..., :4], -1, 0))
    edges = sums[..., 4:last].reshape(*sums.shape[:-1], len(tolerances_m), 6)
    f1, distance = boundary_f1(edges), boundary_distance_m(edges)
    fields = field_rates(FieldCounts(sums[..., last:]), complete=complete)
    pixels = (
        counts.metrics()
        | {f"boundary_f1 {metres:g}": f1[..., place] for place, metres in enumerate(tolerances_m)}
        | {f"boundary_distance_m {metres:g}": distance[..., place] for place, metres in enumerate(tolerances_m)}
    )
    has_both = (counts.tp + counts.fn > 0) & (counts.fp + counts.tn > 0)
    return {
        name: value if name in ONE_CLASS else np.where(has_both, value, math.nan) for name, value in pixels.items()
    } | {f"fields {name}": value for name, value in fields.items()}


def _all(its: Score, *, tolerances_m: Sequence[float], complete: bool) -> dict[str, Any]:
    metres = [f"{each:g}" for each in tolerances_m]
    nothing = np.full(len(metres), math.nan)
    f1, distance = (
        (boundary_f1(its.edges), boundary_distance_m(its.edges)) if its.counts.has_both_classes else (nothing, nothing)
    )
    return (
        asdict(its.counts)
        | {"known": its.counts.total}
        | figures(its.counts)
        | {"other": figures(its.counts.swapped)}
        | {"boundary_f1": dict(zip(metres, map(_plain, f1.tolist()), strict=True))}
        | {"boundary_distance_m": dict(zip(metres, map(_plain, distance.tolist()), strict=True))}
        | {"fields": _fields(its.fields, complete=complete)}
    )


def _fields(counts: FieldCounts, *, complete: bool) -> dict[str, Any] | None:
    numbers = {
        name: int(counts[name]) for name in ("reference", "predicted", "reference_left_out", "predicted_left_out")
    }
    return numbers | field_figures(counts, complete=complete) if any(numbers.values()) else None


def _field_sizes(parts: Sequence[Part], *, complete: bool) -> list[dict[str, Any]]:
    """The figures of each size class that has fields, from the smallest.

    Partners may be of two classes, so a class that one side lacks has no F1.
    """
    found: dict[int, FieldCounts] = defaultdict(FieldCounts)
    for part in parts:
        for size, counts in part.sizes.items():
            found[size] += counts
    rows = ((name, _fields(found[size], complete=complete)) for size, name in enumerate(size_names()))
    lacks = {"f1": None, "f1_50_95": None}
    return [
        {"name": name, "fields": its if its["predicted"] and its["reference"] else its | lacks}
        for name, its in rows
        if its
    ]


def _thresholds(levels: Int64[np.ndarray, "2 255"]) -> dict[str, Any]:
    best = best_threshold(levels)
    curve = [[level / ONE, count_at(levels, level / ONE).iou] for level in range(0, LEVELS, 2)]
    return {"best": best, "best_iou": count_at(levels, best).iou, "curve": curve}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
