"""Rates, decay and averages, by hand."""

import pytest
import torch
from torch import nn

from cropland.data.batches import Batch
from cropland.recipe import Training
from cropland.training.optimizer import make_objective, make_optimizer, set_rate, update_average


def rates(**training: object) -> list[float]:
    """The rate at tenths of the training, as a share of the recipe's."""
    its = Training(learning_rate=2.0, **training)
    optimizer = make_optimizer(nn.Linear(1, 1), its)
    return [set_rate(optimizer, its, tenth / 10) / 2 for tenth in range(11)]


def test_a_cosine_falls_from_the_whole_rate_to_a_thousandth() -> None:
    assert rates(warmup=0)[::5] == pytest.approx([1, 0.5, 1e-3])


def test_warm_up_rises_in_a_line_whatever_the_schedule() -> None:
    for schedule in ("cosine", "constant"):
        assert rates(warmup=0.4, schedule=schedule)[:5] == pytest.approx([1e-3, 0.25, 0.5, 0.75, 1])


def test_a_constant_rate_stays() -> None:
    assert rates(warmup=0, schedule="constant") == [1] * 11


@pytest.mark.parametrize(("decay_all", "bias"), [(False, 1.0), (True, 0.5)])
def test_norms_and_biases_decay_only_when_told(decay_all: bool, bias: float) -> None:
    layer = nn.Linear(1, 1)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    optimizer = make_optimizer(layer, Training(learning_rate=1.0, weight_decay=0.5, decay_all=decay_all))
    for weight in layer.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert (layer.weight.item(), layer.bias.item()) == (0.5, bias)


def test_no_average_is_the_last_weights_bit_by_bit() -> None:
    average, network = nn.Linear(3, 3), nn.Linear(3, 3)
    update_average(average, network, decay=0.0, step=100)
    assert torch.equal(average.weight, network.weight)


def batch(target: float) -> Batch:
    """One chip of one label."""
    return Batch(
        torch.zeros(1, 3, 4, 4), torch.full((1, 1, 4, 4), target), torch.ones(1, 1, 4, 4, dtype=torch.bool), ("a",)
    )


@pytest.mark.parametrize(("target", "best"), [(1.0, 0.9), (0.0, 0.1)])
def test_smoothing_moves_the_best_probability_by_half_of_it(target: float, best: float) -> None:
    objective = make_objective({"cross_entropy": 1.0}, label_smoothing=0.2)
    logit = torch.full((1, 1, 4, 4), best).logit().requires_grad_()
    objective(logit, batch(target)).sum().backward()
    assert logit.grad is not None and logit.grad.abs().max() < 1e-7


def test_without_smoothing_labels_are_as_they_were() -> None:
    logit = torch.linspace(-3, 3, 16).reshape(1, 1, 4, 4)
    loss = make_objective({"cross_entropy": 2.0})(logit, batch(1.0))
    torch.testing.assert_close(loss, -2 * logit.sigmoid().log().mean()[None])
