"""Accumulation equals the large batch, and the noise scale of made-up gradients."""

import pytest
import torch
from torch import nn

from cropland.lab.chapters.batch.gradient import gradient, noise_scale


def network(norm: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.Conv2d(8, 1, 1)).double()


@pytest.mark.parametrize("micro", [1, 2, 3, 8])
def test_accumulation_is_the_large_batch_whatever_the_cut(micro: int):
    image, made = torch.randn(8, 3, 12, 12).double(), network(nn.GroupNorm(2, 8))
    torch.testing.assert_close(gradient(made, image, micro=micro), gradient(made, image, micro=8))


def test_but_for_the_statistics_of_batch_norm():
    image, made = torch.randn(8, 3, 12, 12).double(), network(nn.BatchNorm2d(8))
    whole = gradient(made, image, micro=8)
    assert (gradient(made, image, micro=2) - whole).norm() > 1e-3 * whole.norm()


@pytest.mark.parametrize("signal", [0.1, 1.0])
def test_the_noise_scale_of_made_up_gradients(signal: float):
    """Variance 1 in each of 400 weights around a mean of length 20 x signal: scale = 400 / (400 signal^2)."""
    gradients = torch.randn(3000, 400, generator=torch.Generator().manual_seed(1)) + signal
    assert noise_scale(gradients) == pytest.approx(1 / signal**2, rel=0.1)


def test_equal_gradients_have_no_noise():
    assert noise_scale(torch.ones(8, 5)) == 0
