"""Counts of one layer by formula and by counter, and how wrong the naive stopwatch is."""

import pytest
import torch

from cropland.lab.chapters.separable.layer import (
    bytes_moved,
    convolutions,
    factors,
    kept_per_image,
    layers,
    naive,
    off,
)
from cropland.lab.measure import Budget, multiply_adds

C, EDGE = 8, 16
TINY = Budget("tiny", rounds=1, size=EDGE, channels=C, seeds=0, steps=0, every=1)
MAP = 4 * C * EDGE**2  # bytes of one activation


@pytest.fixture
def both():
    return layers(torch.device("cpu"), TINY)


def test_multiply_adds_are_those_of_the_formula(both):
    image, ready = both
    assert multiply_adds(ready["ordinary"], image) == 9 * C * C * EDGE**2
    assert multiply_adds(ready["separable"], image) == (9 * C + C * C) * EDGE**2


def test_the_separable_layer_moves_one_activation_more_out_and_in(both):
    image, ready = both
    weights = {name: 4 * part.weight.numel() for name, part in convolutions(ready).items()}
    ordinary = bytes_moved(ready["ordinary"], image) - weights["ordinary"]
    separable = bytes_moved(ready["separable"], image) - weights["depthwise"] - weights["pointwise"]
    assert separable - ordinary == 2 * MAP
    assert ordinary == pytest.approx(6 * MAP, rel=0.05)  # convolution, normalisation, rectifier; and its vectors


def test_the_separable_layer_keeps_one_activation_more(both):
    image, _ = both
    _, ready = layers(torch.device("cpu"), TINY, training=True)
    kept = {name: kept_per_image(each, image) for name, each in ready.items()}
    assert kept == {"ordinary": 3 * MAP, "separable": 4 * MAP}


NAIVE = Budget("tiny", rounds=2, size=16, channels=4, seeds=0, steps=0, every=8)


@pytest.mark.parametrize(("found", "wrong"), [(3.0, 1.5), (2.0, 1.0), (1.0, 2.0)])
def test_a_ratio_is_wrong_either_way(found: float, wrong: float):
    assert off(found, 2.0) == pytest.approx(wrong)


def test_repeats_are_compared_in_pairs():
    assert factors({"ordinary": [6.0, 9.0], "separable": [2.0, 1.0]}) == [3.0, 9.0]


def test_the_naive_process_tells_one_first_call_of_each():
    told = naive(torch.device("cpu"), NAIVE, order=("separable", "ordinary"))
    assert {name: len(its) for name, its in told.items()} == {"ordinary": 1, "separable": 1}
    assert all(seconds > 0 for its in told.values() for seconds in its)
