"""What a call costs, in numbers."""

import pytest
import torch

from cropland.lab.experiments.convolution_machines_call import elementwise, free


def test_numbers_that_could_be_worked_on_in_a_call():
    # 2 microseconds for the call, 1 nanosecond for each of a million numbers
    assert free(2e-6, 2e-6 + 1e-3, 10**6) == pytest.approx(2000)


def test_one_sum_for_each_number():
    y = elementwise(9, torch.device("cpu"))()
    assert isinstance(y, torch.Tensor) and y.shape == (9,) and len(y.unique()) == 9
