"""Counts of one layer by formula and by counter."""

import pytest
import torch

from cropland.lab.experiments.separable_layer import (
    bytes_moved,
    convolutions,
    kept_per_image,
    layers,
    multiply_adds,
)
from cropland.lab.measure import Budget

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
