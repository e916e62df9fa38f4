"""The highest rate that still works."""

from dataclasses import replace

import pytest
import torch

from cropland.lab.chapters.normalisation.trained import highest, normalisation_trained_micro
from cropland.lab.measure import QUICK

CPU = torch.device("cpu")


def test_the_highest_rate_need_not_be_the_best():
    good, bad = (0.5,) * 8, (3.0,) * 8
    by_rate = {0.01: [good, bad], 0.1: [good, bad], 1.0: [bad, bad]}
    assert highest(by_rate, 0) == 0.1
    assert highest(by_rate, 1) == pytest.approx(0.01 / 10**0.5)


def test_nothing_is_trained_in_a_quick_run():
    (finding,) = normalisation_trained_micro(CPU, replace(QUICK, seeds=0))
    assert finding.missing and not finding.numbers
