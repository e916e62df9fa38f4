"""Crossing points on made-up times, that the kernels do what is said of them, and what a call costs, in numbers."""

import math

import pytest
import torch

from cropland.lab.chapters.convolution.machines import CPU, KERNELS, _decisions, _on, crossing, elementwise, free


@pytest.mark.parametrize(
    ("slow", "fast", "at"),
    [
        ([1, 2, 4], [3, 3, 3], 30),
        ([4, 4, 4], [3, 3, 3], 10),
        ([1, 1, 1], [3, 3, 3], math.inf),
        ([4, 1, 4], [3, 3, 3], 30),
        ([4, 4, 1], [3, 3, 3], math.inf),
        ([1, 3, 4], [3, 3, 3], 30),
    ],
)
def test_crossing_is_where_it_stays_faster(slow: list[float], fast: list[float], at: float):
    assert crossing([10, 20, 30], slow, fast) == at


def test_every_decision_waits_for_the_last():
    found = _decisions(7, CPU)()
    x = 1.0
    for _ in range(7):
        x = x * 0.5 if x > 1 else x * 3.0
    assert isinstance(found, torch.Tensor) and found.tolist() == [x] * len(found)


@pytest.mark.parametrize("name", KERNELS)
@torch.no_grad()
def test_kernels_run_on_the_threads_they_are_given(name: str):
    before = torch.get_num_threads()
    make, _, sizes = KERNELS[name]
    try:
        _on(CPU, 1)(make, sizes[0])()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_numbers_that_could_be_worked_on_in_a_call():
    # 2 microseconds for the call, 1 nanosecond for each of a million numbers
    assert free(2e-6, 2e-6 + 1e-3, 10**6) == pytest.approx(2000)


def test_one_sum_for_each_number():
    y = elementwise(9, torch.device("cpu"))()
    assert isinstance(y, torch.Tensor) and y.shape == (9,) and len(y.unique()) == 9
