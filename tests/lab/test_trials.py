"""Steps to a loss, and accumulation: exact for channel norm, not for batch norm."""

import pytest
import torch
from torch import nn

from cropland.data.batches import Batch
from cropland.lab.trials import latest, retaken, short_recipe, steps_to, train

CPU = torch.device("cpu")


def test_latest_is_the_mean_of_at_most_eight():
    assert latest((1.0, 0.0, 0.5)) == pytest.approx([1, 0.5, 0.5])
    assert latest((1.0,) * 4 + (0.0,) * 8)[-1] == 0


def test_steps_to_a_loss():
    assert steps_to((1.0, 1.0, 0.4, 0.4), 0.8) == 3
    assert steps_to((0.5,), 0.8) == 1
    assert steps_to((1.0, 1.0, 1.0), 0.8) == 3  # never: all of them


@pytest.mark.parametrize(("norm", "same"), [("channel_norm", True), ("batch_norm", False)])
def test_accumulation(norm: str, same: bool):
    torch.manual_seed(0)
    image = torch.rand(4, 3, 32, 32) * torch.rand(4, 1, 1, 1)
    batch = Batch(image, (image[:, :1] > 0.3).float(), torch.ones(4, 1, 32, 32, dtype=torch.bool), ("",) * 4)
    (loss,), (cut,) = (train(short_recipe(norm, 0.01, 0), [batch], CPU, micro=micro)[1] for micro in (4, 1))
    assert (abs(loss - cut) < 1e-6) is same


def test_statistics_taken_again_are_the_mean_over_batches():
    network = nn.Sequential(nn.BatchNorm2d(1))
    images = [torch.full((2, 1, 4, 4), float(value)) for value in (1, 5)]
    data = [Batch(image, image[:, :1], image[:, :1] > 0, ("", "")) for image in images]
    again = retaken(network, data, CPU)
    assert again[0].running_mean.item() == pytest.approx(3)
    assert network[0].running_mean.item() == 0
