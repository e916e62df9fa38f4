"""The four counts of a two-class map against a reference, and every metric that follows from them.

Masks are uint8: 0 other, 1 cropland, 255 no data or unknown; a pixel that is 255 on either side is not counted.
A metric whose denominator is zero is nan: IoU where neither side has cropland, precision where none is predicted,
recall where the reference has none, false alarm where all is cropland, kappa where both sides are of the same class.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any, overload

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from cropland.probability import LEVELS, ONE

UNKNOWN = 255
METRICS = ("iou", "f1", "precision", "recall", "kappa", "accuracy", "false_alarm")


@overload
def ratio(numerator: float, denominator: float) -> float: ...
@overload
def ratio(numerator: Float64[np.ndarray, "*pool"], denominator: Float64[np.ndarray, "*pool"]) -> np.ndarray: ...
def ratio(numerator: Any, denominator: Any) -> Any:
    """The quotient of numbers or arrays, nan where the denominator is zero."""
    above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient = np.where(below == 0, np.nan, above / below)
    return quotient if quotient.ndim else float(quotient)


@dataclass(frozen=True, slots=True)
class Counts:
    """Pixels by predicted and reference class: add two to pool them.

    The four may also be arrays of one shape, as the draws of a bootstrap are; the metrics then are such arrays.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def total(self) -> int:
        """All pixels that are known on both sides."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def iou(self) -> float:
        """Intersection over union of cropland (Jaccard 1912), 0 to 1."""
        return ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall (Dice 1945), 0 to 1."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """Share of the predicted cropland that is cropland (user's accuracy)."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the cropland that is predicted (producer's accuracy)."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def accuracy(self) -> float:
        """Share of all known pixels that are right."""
        return ratio(self.tp + self.tn, self.total)

    @property
    def false_alarm(self) -> float:
        """Share of the known non-cropland that is predicted as cropland."""
        return ratio(self.fp, self.fp + self.tn)

    @property
    def kappa(self) -> float:
        """Agreement beyond chance, -1 to 1 (Cohen 1960, doi:10.1177/001316446002000104)."""
        products = (self.tp + self.fp) * (self.fp + self.tn), (self.tp + self.fn) * (self.fn + self.tn)
        return ratio(2 * (self.tp * self.tn - self.fp * self.fn), sum(products))

    @property
    def all_cropland(self) -> Counts:
        """The same reference against a map of cropland everywhere, the trivial prediction."""
        return Counts(tp=self.tp + self.fn, fp=self.fp + self.tn)

    @property
    def swapped(self) -> Counts:
        """The same pixels with the classes exchanged: the metrics of what is not cropland."""
        return Counts(self.tn, self.fn, self.fp, self.tp)

    @property
    def has_both_classes(self) -> bool:
        """Whether the reference knows cropland and other pixels."""
        return bool(self.tp + self.fn > 0 and self.fp + self.tn > 0)

    def metrics(self) -> dict[str, float]:
        """Every metric of `METRICS` by its name; nan where its denominator is zero."""
        return {name: getattr(self, name) for name in METRICS}


def count(prediction: UInt8[np.ndarray, "*grid"], reference: UInt8[np.ndarray, "*grid"]) -> Counts:
    """The counts of a mask against its reference, both 0, 1 or 255, of one shape."""
    pairs = [np.count_nonzero((prediction == a) & (reference == b)) for a, b in ((1, 1), (1, 0), (0, 1), (0, 0))]
    return Counts(*map(int, pairs))


def histogram(
    probability: UInt8[np.ndarray, "*grid"], reference: UInt8[np.ndarray, "*grid"]
) -> Int64[np.ndarray, "2 255"]:
    """Known pixels by reference (row 0 other, row 1 cropland) and probability level (0..254); add two to pool them."""
    return np.stack([np.bincount(probability[reference == side], minlength=LEVELS + 1)[:LEVELS] for side in (0, 1)])


def count_at(levels: Int64[np.ndarray, "2 255"], threshold: float) -> Counts:
    """The counts of the mask `probability >= threshold`, threshold 0 to 1, from a `histogram`."""
    first = int(np.searchsorted(np.arange(LEVELS) / ONE, threshold))
    (tn, fn), (fp, tp) = levels[:, :first].sum(axis=1), levels[:, first:].sum(axis=1)
    return Counts(int(tp), int(fp), int(fn), int(tn))


def best_threshold(levels: Int64[np.ndarray, "2 255"]) -> float:
    """The threshold of the highest pooled IoU, from a `histogram`; the one nearest to 0.5 among equals.

    It lies midway between two levels, so that comparing a probability before or after it is rounded to a level gives
    the same mask. 0.5 where the histogram has no cropland, since no threshold is better than another then.
    """
    cropland = levels[1].sum()
    if not cropland:
        return 0.5
    # Pixels that are cropland from level 1, 2, ... 254 on, wrongly and rightly.
    fp, tp = levels[:, :0:-1].cumsum(axis=1)[:, ::-1].astype(np.float64)
    iou = tp / (fp + cropland)
    midway = (np.arange(1, LEVELS) - 0.5) / ONE
    equals = midway[iou == iou.max()]
    return float(equals[np.abs(equals - 0.5).argmin()])
