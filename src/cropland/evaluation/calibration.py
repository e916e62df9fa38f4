"""How far a probability can be trusted: its reliability, a temperature that improves it, and precision against recall.

All of it follows from the histogram of known pixels by reference class and probability level (`counts.histogram`), so
it costs nothing to pool. A level stands for the probability level / 254. The two ends, whose logits would be infinite,
stand for the middle of the interval that is rounded to them: 0.25 / 254 and 1 - 0.25 / 254.

A temperature T replaces p by sigmoid(logit(p) / T). It changes how sure a model is, never which of two pixels it holds
for the likelier cropland, and it moves no probability across 0.5. What a map stores is the network's own probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import expit, logit

from cropland.evaluation.counts import ratio
from cropland.probability import LEVELS, ONE

__all__ = [
    "PrecisionRecall",
    "Reliability",
    "brier_score",
    "calibrated",
    "calibration_figures",
    "expected_calibration_error",
    "fit_temperature",
    "log_loss",
    "precision_recall",
    "reliability",
]

BINS = 15
END = 0.25 / ONE
PROBABILITY = np.clip(np.arange(LEVELS) / ONE, END, 1 - END)  # what each level stands for
TEMPERATURES = 0.1, 10.0  # the range in which one is looked for


@dataclass(frozen=True, eq=False)
class Reliability:
    """The mean probability, the observed share of cropland and the pixels of each bin, from probability 0 to 1.

    Mean and share are nan where a bin has no pixel.
    """

    predicted: Float64[np.ndarray, " bin"]
    observed: Float64[np.ndarray, " bin"]
    pixels: Int64[np.ndarray, " bin"]


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Precision and recall of the mask `probability >= threshold` at every threshold, in ascending order, and the area
    under the curve.

    Precision is nan where no pixel is predicted; recall and average precision are nan without cropland.
    """

    thresholds: Float64[np.ndarray, " threshold"]
    precision: Float64[np.ndarray, " threshold"]
    recall: Float64[np.ndarray, " threshold"]
    average_precision: float


def calibrated(probability: Float[np.ndarray, "*shape"], temperature: float) -> Float[np.ndarray, "*shape"]:
    """Probabilities (0..1) after temperature scaling: sigmoid(logit(p) / T); 0, 1 and nan stay what they are.

    T > 1 draws them towards 0.5, T < 1 away from it. Source: Guo et al. 2017, arXiv:1706.04599.
    """
    scaled: np.ndarray = expit(logit(probability) / temperature)
    return scaled


def reliability(levels: Int64[np.ndarray, "2 255"], *, bins: int = BINS, temperature: float = 1.0) -> Reliability:
    """How often cropland is observed where it is predicted with a given probability, from a `counts.histogram`.

    The bins are of equal width: bin b of B holds the probabilities in ((b - 1) / B, b / B], the first also 0.
    Source: DeGroot and Fienberg 1983, doi:10.2307/2987588.
    """
    p, known = calibrated(PROBABILITY, temperature), levels.sum(axis=0)
    number = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], p)
    pixels, cropland, expected = (
        np.bincount(number, weights=each, minlength=bins) for each in (known, levels[1], known * p)
    )
    empty = np.full(bins, math.nan)
    predicted, observed = (np.divide(each, pixels, out=empty.copy(), where=pixels > 0) for each in (expected, cropland))
    return Reliability(predicted, observed, pixels.astype(np.int64))


def expected_calibration_error(
    levels: Int64[np.ndarray, "2 255"], *, bins: int = BINS, temperature: float = 1.0
) -> float:
    """The mean distance between the predicted probability and the observed share of cropland, 0 to 1; nan of no pixel.

    ECE = sum over bins of n_b / N |observed_b - predicted_b|, with the bins of `reliability`: 15 of equal width, as in
    Guo et al. 2017 (arXiv:1706.04599). It is the error of the probability of cropland, as in Naeini, Cooper and
    Hauskrecht 2015 (doi:10.1609/aaai.v29i1.9602), not of the confidence in whichever class is predicted.
    """
    found = reliability(levels, bins=bins, temperature=temperature)
    distances = np.nan_to_num(np.abs(found.observed - found.predicted))
    return ratio(float(found.pixels @ distances), int(found.pixels.sum()))


def brier_score(levels: Int64[np.ndarray, "2 255"], *, temperature: float = 1.0) -> float:
    """The mean square of what the probability is off by, 0 to 1: sum over pixels of (p - y)^2 / N; nan of no pixel.

    y is 1 for cropland, else 0. Source: Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    p = calibrated(PROBABILITY, temperature)
    return ratio(float(levels[0] @ p**2 + levels[1] @ (1 - p) ** 2), int(levels.sum()))


def log_loss(levels: Int64[np.ndarray, "2 255"], *, temperature: float = 1.0) -> float:
    """The mean negative log likelihood of the reference: -sum over pixels of (y ln p + (1 - y) ln(1 - p)) / N.

    y is 1 for cropland, else 0. nan of no pixel. Source: Good 1952, doi:10.1111/j.2517-6161.1952.tb00104.x.
    """
    logits = logit(PROBABILITY) / temperature
    # -ln p = ln(1 + e^-z) and -ln(1 - p) = ln(1 + e^z), without a p that is rounded to 0 or 1.
    lost = levels[0] @ np.logaddexp(0, logits) + levels[1] @ np.logaddexp(0, -logits)
    return ratio(float(lost), int(levels.sum()))


def fit_temperature(levels: Int64[np.ndarray, "2 255"]) -> float | None:
    """The temperature T of the least `log_loss`, from a `counts.histogram` of pixels that were not trained on.

    T is looked for from 0.1 to 10, and is one of these ends where ever smaller or larger temperatures fit better:
    where 0.5 divides the classes without an error, or where the probability is no better than a guess. None where a
    class is missing, since any probability can then be bettered by going on in the same direction.
    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    from scipy.optimize import minimize_scalar  # a tenth of a second that a report does without

    if not levels.any(axis=1).all():
        return None
    # The loss is convex in 1 / T, so it has a single valley in log T as well.
    low, high = map(math.log, TEMPERATURES)
    found = minimize_scalar(
        lambda log_t: log_loss(levels, temperature=math.exp(log_t)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return math.exp(found.x)


def precision_recall(levels: Int64[np.ndarray, "2 255"]) -> PrecisionRecall:
    """Precision and recall at 255 thresholds: 0, and midway between any two levels, as `counts.best_threshold` has it.

    The average precision is the area under the curve by steps, AP = sum over n of (R_n - R_n-1) P_n with falling
    thresholds. Its interpolation would be too good (Davis and Goadrich 2006, doi:10.1145/1143844.1143874).
    """
    fp, tp = levels[:, ::-1].cumsum(axis=1)[:, ::-1]  # pixels of this level or a higher one
    nowhere = np.full(LEVELS, math.nan)
    precision = np.divide(tp, tp + fp, out=nowhere.copy(), where=tp + fp > 0)
    recall = np.divide(tp, tp[0], out=nowhere.copy(), where=tp[0] > 0)
    steps = -np.diff(recall, append=0)
    average = float(steps @ np.nan_to_num(precision)) if tp[0] else math.nan
    return PrecisionRecall(np.maximum(np.arange(LEVELS) - 0.5, 0) / ONE, precision, recall, average)


def calibration_figures(
    levels: Int64[np.ndarray, "2 255"], *, threshold: float | None, temperature: float | None
) -> dict[str, Any]:
    """The figures of this module as plain values, of a histogram with both classes, null where they are not defined.

    bins: mean probability, observed share of cropland and share of the pixels of each. threshold: the one in use,
    marked on the curve of precision and recall. temperature: that of the model, for the error that it leaves.
    """
    found, curve = reliability(levels), precision_recall(levels)
    bins = zip(found.predicted, found.observed, found.pixels / found.pixels.sum(), strict=True)
    points = [*zip(curve.thresholds, curve.precision, curve.recall, strict=True)]
    at = None if threshold is None else points[int(np.searchsorted(curve.thresholds, threshold, side="right")) - 1]
    after = None if temperature is None else expected_calibration_error(levels, temperature=temperature)
    return {
        "ece": expected_calibration_error(levels),
        "brier": brier_score(levels),
        "log_loss": log_loss(levels),
        "temperature": temperature,
        "ece_with_temperature": after,
        "best_temperature": fit_temperature(levels),
        "bins": [[*map(_plain, each)] for each in bins],
        "precision_recall": {
            "average_precision": curve.average_precision,
            "curve": [[_plain(recall), _plain(precision)] for _, precision, recall in points],
            "at_threshold": at and [threshold, *map(_plain, at[1:])],
        },
    }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
