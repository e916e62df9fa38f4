"""Numbers with their interval, and timing."""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from torch import nn

from cropland.lab.measure import (
    Number,
    exactly,
    interleave,
    mean_of_seeds,
    multiply_adds,
    paired,
    quartiles,
    quotient,
    ratio,
)
from cropland.training.memory import place_network

VALUES = st.floats(-1e6, 1e6)


@given(st.lists(VALUES, min_size=1, max_size=30))
def test_quartiles_are_numpys_and_in_order(samples: list[float]):
    number = quartiles(samples)
    assert number.low <= number.value <= number.high
    assert [number.low, number.value, number.high] == pytest.approx(np.percentile(samples, (25, 50, 75)))


@given(st.lists(VALUES, min_size=2, max_size=9))
def test_the_interval_of_seeds_is_students(samples: list[float]):
    number = mean_of_seeds(samples)
    error = np.std(samples, ddof=1) / math.sqrt(len(samples))
    assert number.high - number.value == pytest.approx(student.ppf(0.975, len(samples) - 1) * error, abs=1e-6)


def test_one_seed_knows_no_bound():
    assert mean_of_seeds([0.3]) == Number(0.3, -math.inf, math.inf)


@pytest.mark.parametrize(
    ("number", "spec", "text"),
    [
        (exactly(8.4), "", "8.40"),
        (Number(1.944, 1.9, 2.0), "", "1.94 (1.90 – 2.00)"),
        (Number(1.944, 1.9, 2.0), "value", "1.94"),
        (Number(0.5, 0.4, 0.6), "%", "50.0 % (40.0 % – 60.0 %)"),
        (exactly(3_571_234), "d", "3,571,234"),
        (exactly(0), "", "0"),
        (exactly(-12.34), "", "−12.3"),
        (exactly(2e-16), "", "2.0e−16"),
        (exactly(123456), "", "123,456"),
        (exactly(12_345_678), "", "12,345,678"),
        (exactly(3e9), "", "3.0e+09"),
        (mean_of_seeds([0.25]), "", "0.250 (−∞ – ∞)"),
    ],
)
def test_as_text(number: Number, spec: str, text: str):
    assert format(number, spec) == text


@given(VALUES, st.floats(-10, 10))
def test_another_unit_keeps_the_order(value: float, factor: float):
    number = Number(value, value - 1, value + 1).times(factor)
    assert number.low <= number.value <= number.high


CPU = torch.device("cpu")


def test_contenders_take_turns_after_the_warm_up():
    order: list[str] = []
    slow = 0.003  # longer than the least sample, so that a sample is one call

    def note(name: str) -> None:
        order.append(name)
        time.sleep(slow)

    times = interleave({"a": lambda: note("a"), "b": lambda: note("b")}, CPU, rounds=3, warm=1)
    assert "".join(order) == "ab" + "ab" + "ababab"
    assert len(times["a"].samples) == 3 and min(times["a"].samples) >= slow


def test_short_calls_are_repeated_within_a_sample():
    calls: list[None] = []
    times = interleave({"tiny": lambda: calls.append(None)}, CPU, rounds=5)
    assert len(calls) > 1000
    assert times["tiny"].number.value < 1e-4


def test_the_first_call_is_told_apart():
    waits = iter([0.05])
    times = interleave({"compiles": lambda: time.sleep(next(waits, 0.003))}, CPU, rounds=3)
    assert times["compiles"].first >= 0.05 > max(times["compiles"].samples)


def test_a_ratio_is_taken_round_by_round():
    times = interleave({"slow": lambda: time.sleep(0.02), "fast": lambda: time.sleep(0.005)}, CPU, rounds=5)
    number = ratio(times["slow"], times["fast"])
    assert number.low <= number.value <= number.high
    assert number.value == pytest.approx(4, rel=0.4)


def test_networks_lie_channels_last():
    assert place_network(nn.Conv2d(4, 8, 3), CPU).weight.is_contiguous(memory_format=torch.channels_last)


def test_a_quotient_is_as_wide_as_both_intervals():
    assert quotient(Number(6, 4, 8), Number(2, 1, 4)) == Number(3, 1, 8)


def test_a_difference_is_paired_by_seed():
    assert paired([0.5, 0.7], [0.4, 0.6]) == mean_of_seeds([0.5 - 0.4, 0.7 - 0.6])


def test_multiply_adds_of_a_convolution():
    layer = torch.nn.Conv2d(5, 7, 3, padding=1, bias=False)
    assert multiply_adds(layer, torch.zeros(1, 5, 8, 8)) == 9 * 5 * 7 * 64
