"""Figures of the four counts against worked examples, their laws, and the best threshold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropland.evaluation.counts import METRICS, Counts, best_threshold, count, count_at, histogram

counts = st.builds(Counts, *(st.integers(0, 10**12) for _ in range(4)))


def pixels(seed: int, size: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that lean towards the truth, both with unknown pixels."""
    rng = np.random.default_rng(seed)
    true = rng.choice(np.array([0, 1, 255], np.uint8), size, p=[0.5, 0.4, 0.1])
    probability = np.clip(rng.normal(90 + 80 * (true == 1), 60), 0, 254).astype(np.uint8)
    probability[rng.random(size) < 0.05] = 255
    return probability, true


def test_figures_of_a_worked_example():
    """Cohen's kappa as in Fleiss, Levin, Paik (2003): agreement 0.7 where chance gives 0.5, so 0.4."""
    worked = Counts(tp=20, fp=5, fn=10, tn=15)
    assert worked.accuracy == pytest.approx(0.7)
    assert worked.kappa == pytest.approx(0.4)
    assert worked.precision == pytest.approx(20 / 25)
    assert worked.recall == pytest.approx(20 / 30)
    assert worked.f1 == pytest.approx(2 * 0.8 * (2 / 3) / (0.8 + 2 / 3))
    assert worked.iou == pytest.approx(20 / 35)
    assert worked.false_alarm == pytest.approx(5 / 20)


def test_unknown_on_either_side_counts_nowhere():
    said = np.array([[1, 1, 0, 0, 255, 1]], np.uint8)
    true = np.array([[1, 0, 1, 0, 1, 255]], np.uint8)
    assert count(said, true) == Counts(1, 1, 1, 1)


def test_a_figure_without_denominator_is_nan():
    assert all(math.isnan(value) for value in Counts().metrics().values())
    nothing = Counts(tn=9)
    assert nothing.accuracy == 1 and nothing.false_alarm == 0
    assert all(math.isnan(getattr(nothing, name)) for name in ("iou", "f1", "precision", "recall", "kappa"))
    assert math.isnan(Counts(tp=9).false_alarm)


def test_all_cropland_finds_everything():
    trivial = Counts(20, 5, 10, 15).all_cropland
    assert trivial == Counts(tp=30, fp=20)
    assert trivial.recall == 1 and trivial.false_alarm == 1 and trivial.kappa == 0


@given(counts, counts)
def test_laws(a: Counts, b: Counts):
    assert a + b == b + a and a + Counts() == a
    assert (a + b).total == a.total + b.total
    for name, value in a.metrics().items():
        assert math.isnan(value) or (-1 if name == "kappa" else 0) <= value <= 1
    if not math.isnan(a.iou):
        assert a.f1 == pytest.approx(2 * a.iou / (1 + a.iou))
    assert set(a.metrics()) == set(METRICS)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1) | st.integers(0, 254).map(lambda level: level / 254))
def test_a_histogram_counts_as_the_mask_does(seed: int, threshold: float):
    probability, true = pixels(seed)
    said = np.where(probability == 255, 255, probability / 254 >= threshold).astype(np.uint8)
    assert count_at(histogram(probability, true), threshold) == count(said, true)


@given(st.integers(0, 2**32 - 1))
def test_no_threshold_beats_the_best(seed: int):
    levels = histogram(*pixels(seed))
    best = count_at(levels, best_threshold(levels)).iou
    assert best == max(count_at(levels, level / 254).iou for level in range(1, 255))


@given(st.integers(0, 2**32 - 1))
def test_the_best_threshold_is_blind_to_rounding(seed: int):
    levels = histogram(*pixels(seed))
    threshold = best_threshold(levels)
    p = np.random.default_rng(seed).random(1000)
    assert ((p >= threshold) == (np.rint(p * 254) / 254 >= threshold)).all()


def test_best_threshold_prefers_the_middle():
    levels = np.zeros((2, 255), np.int64)
    levels[0, 10], levels[1, 240] = 50, 50
    assert best_threshold(levels) == pytest.approx(0.5, abs=1 / 254)
    assert best_threshold(np.zeros((2, 255), np.int64)) == 0.5
