import pytest
import torch

from cropland.lab.experiments.batch_gradient import noise_scale


@pytest.mark.parametrize("signal", [0.1, 1.0])
def test_the_noise_scale_of_made_up_gradients(signal: float):
    """Variance 1 in each of 400 weights around a mean of length 20 x signal: scale = 400 / (400 signal^2)."""
    gradients = torch.randn(3000, 400, generator=torch.Generator().manual_seed(1)) + signal
    assert noise_scale(gradients) == pytest.approx(1 / signal**2, rel=0.1)


def test_equal_gradients_have_no_noise():
    assert noise_scale(torch.ones(8, 5)) == 0
