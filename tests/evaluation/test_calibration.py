"""Reliability, temperature and precision against recall: scikit-learn on every pixel says the same, and their laws."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from cropland.evaluation.calibration import (
    PROBABILITY,
    brier_score,
    calibrated,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    precision_recall,
    reliability,
)
from cropland.evaluation.counts import best_threshold, count, count_at, histogram

seeds = st.integers(0, 2**32 - 1)
temperatures = st.floats(0.2, 5)


def pixels(seed: int, size: int = 300, *, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Levels that lean towards the truth, more or less; the first pixels are of both classes if two are wanted."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 2, size).astype(np.uint8)
    true[:classes] = (0, 1)[:classes]
    spread = rng.uniform(5, 120)
    return np.clip(rng.normal(90 + 80 * true, spread), 0, 254).astype(np.uint8), true


@given(seeds)
def test_masks_are_counted_as_scikit_learn_counts_them(seed: int):
    level, true = pixels(seed)
    said = (level >= 127).astype(np.uint8)
    ours = count(said, true)
    (tn, fp), (fn, tp) = sk.confusion_matrix(true, said, labels=(0, 1))
    assert (ours.tp, ours.fp, ours.fn, ours.tn) == (tp, fp, fn, tn)
    theirs = {
        "iou": sk.jaccard_score,
        "f1": sk.f1_score,
        "precision": sk.precision_score,
        "recall": sk.recall_score,
        "accuracy": sk.accuracy_score,
        "kappa": sk.cohen_kappa_score,
    }
    for name, figure in theirs.items():
        value = getattr(ours, name)
        if not math.isnan(value):
            assert value == pytest.approx(figure(true, said), abs=1e-12), name


@given(seeds)
def test_precision_and_recall_are_those_of_scikit_learn_at_every_level_that_occurs(seed: int):
    level, true = pixels(seed)
    found = precision_recall(histogram(level, true))
    precision, recall, occurring = sk.precision_recall_curve(true, level)
    np.testing.assert_allclose(found.precision[occurring], precision[:-1], atol=1e-12)
    np.testing.assert_allclose(found.recall[occurring], recall[:-1], atol=1e-12)
    assert found.average_precision == pytest.approx(sk.average_precision_score(true, level), abs=1e-12)


@given(seeds)
def test_the_curve_passes_through_the_counts_at_its_thresholds(seed: int):
    levels = histogram(*pixels(seed))
    found = precision_recall(levels)
    assert (np.diff(found.thresholds) > 0).all() and (np.diff(found.recall) <= 0).all()
    for number in (0, 1, 100, 254):
        at = count_at(levels, found.thresholds[number])
        assert at.recall == found.recall[number]
        assert at.precision == pytest.approx(found.precision[number], nan_ok=True)
    assert best_threshold(levels) in found.thresholds


@given(seeds, temperatures, st.integers(1, 20))
def test_reliability_is_that_of_scikit_learn(seed: int, temperature: float, bins: int):
    level, true = pixels(seed)
    p = calibrated(PROBABILITY, temperature)[level]
    found = reliability(histogram(level, true), bins=bins, temperature=temperature)
    observed, predicted = calibration_curve(true, p, n_bins=bins)
    some = found.pixels > 0
    np.testing.assert_allclose(found.observed[some], observed, atol=1e-12)
    np.testing.assert_allclose(found.predicted[some], predicted, atol=1e-12)
    assert found.pixels.sum() == len(level) and np.isnan(found.observed[~some]).all()
    error = sum(n * abs(a - b) for n, a, b in zip(found.pixels[some], observed, predicted, strict=True)) / len(level)
    assert expected_calibration_error(histogram(level, true), bins=bins, temperature=temperature) == pytest.approx(
        error, abs=1e-12
    )


@given(seeds, st.floats(0.5, 5))  # a lower temperature leaves few digits of 1 - p to scikit-learn
def test_proper_scores_are_those_of_scikit_learn(seed: int, temperature: float):
    level, true = pixels(seed)
    p, levels = calibrated(PROBABILITY, temperature)[level], histogram(level, true)
    assert brier_score(levels, temperature=temperature) == pytest.approx(sk.brier_score_loss(true, p), abs=1e-12)
    assert log_loss(levels, temperature=temperature) == pytest.approx(sk.log_loss(true, p), rel=1e-8)


@given(st.integers(0, 10_000))
def test_the_temperature_is_the_inverse_slope_of_a_logistic_regression(seed: int):
    """Of the class on the logit, without an intercept and a penalty: the same likelihood, by another optimiser."""
    level, true = pixels(seed)
    logits = np.log(PROBABILITY / (1 - PROBABILITY))[level, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000).fit(logits, true)
    slope = float(regression.coef_[0, 0])
    if 0.11 < slope < 9:
        assert fit_temperature(histogram(level, true)) == pytest.approx(1 / slope, rel=1e-3)


@given(seeds)
def test_no_temperature_loses_less_than_the_fitted_one(seed: int):
    levels = histogram(*pixels(seed))
    fitted = fit_temperature(levels)
    assert fitted is not None
    best = log_loss(levels, temperature=fitted)
    assert all(best <= log_loss(levels, temperature=t) + 1e-9 for t in (1.0, *np.geomspace(0.11, 9, 40)))


@given(st.floats(0.3, 3.0))
def test_a_distortion_by_a_temperature_is_undone(temperature: float):
    """Cropland as often as the probability says, which then is distorted: levels hold what is not calibrated."""
    true_share, weight = calibrated(PROBABILITY, temperature), 1e6
    cropland = np.rint(weight * true_share).astype(np.int64)
    levels = np.stack([int(weight) - cropland, cropland])
    assert fit_temperature(levels) == pytest.approx(temperature, rel=1e-3)
    assert expected_calibration_error(levels, temperature=temperature) < 1e-5
    if abs(temperature - 1) > 0.1:
        assert expected_calibration_error(levels) > 0.005


def test_a_worked_example():
    """Of 4 pixels at level 51 (p = 0.2) one is cropland, of 6 at level 203 (p = 0.799) three are."""
    levels = np.zeros((2, 255), np.int64)
    levels[:, 51], levels[:, 203] = (3, 1), (3, 3)
    p = np.array([51, 203]) / 254
    found = reliability(levels, bins=2)
    np.testing.assert_allclose(found.predicted, p)
    assert found.observed.tolist() == [0.25, 0.5] and found.pixels.tolist() == [4, 6]
    assert expected_calibration_error(levels) == pytest.approx(0.4 * (0.25 - p[0]) + 0.6 * (p[1] - 0.5))
    assert precision_recall(levels).average_precision == pytest.approx(0.75 * 3 / 6 + 0.25 * 4 / 10)


def test_the_ends_are_the_middle_of_what_is_rounded_to_them():
    fine = np.linspace(0, 1, 254 * 1000 + 1)
    level = np.rint(fine * 254).astype(int)
    for end in (0, 254):
        assert PROBABILITY[end] == pytest.approx(fine[level == end].mean(), abs=1e-5)


@given(st.floats(0, 1, width=32), temperatures)
def test_a_temperature_keeps_the_order_and_the_side_of_a_half(p: float, temperature: float):
    values = np.array([0.0, 0.5, 1.0, math.nan, p], np.float32)
    scaled = calibrated(values, temperature)
    assert scaled.dtype == np.float32 and scaled[:3].tolist() == [0.0, 0.5, 1.0] and math.isnan(scaled[3])
    assert (scaled[4] >= 0.5) == (p >= 0.5) or abs(p - 0.5) < 1e-6
    np.testing.assert_allclose(calibrated(scaled[4:], 1 / temperature), [p], atol=1e-4)


@pytest.mark.parametrize("side", [0, 1])
def test_one_class_has_no_temperature(side: int):
    levels = np.zeros((2, 255), np.int64)
    levels[side, 100] = 9
    assert fit_temperature(levels) is None
    assert math.isnan(precision_recall(levels).average_precision) == (side == 0)


def test_of_no_pixel_nothing_is_known():
    nothing = np.zeros((2, 255), np.int64)
    assert all(math.isnan(figure(nothing)) for figure in (expected_calibration_error, brier_score, log_loss))
    assert fit_temperature(nothing) is None and reliability(nothing).pixels.sum() == 0
    found = precision_recall(nothing)
    assert np.isnan(found.precision).all() and np.isnan(found.recall).all()


def test_classes_that_a_half_divides_give_the_lowest_temperature_and_a_guess_the_highest():
    apart, turned = np.zeros((2, 2, 255), np.int64)
    apart[0, 100] = apart[1, 150] = 9
    turned[1, 100] = turned[0, 150] = 9
    assert fit_temperature(apart) == pytest.approx(0.1, rel=1e-3)
    assert fit_temperature(turned) == pytest.approx(10, rel=1e-3)
