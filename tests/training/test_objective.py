"""The loss of a recipe."""

import pytest
import torch

from cropland.data.batches import Batch
from cropland.training.objective import make_objective


def batch(target: float) -> Batch:
    """One chip of one label."""
    return Batch(torch.zeros(1, 3, 4, 4), torch.full((1, 4, 4), target), torch.ones(1, 4, 4, dtype=torch.bool), ("a",))


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
