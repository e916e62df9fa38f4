"""What holds for every loss on the shelf."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cropland.catalog import find, names

LOSSES = names("losses")


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, targets and validity of three chips."""
    generator = torch.Generator().manual_seed(seed)
    logit = torch.randn(3, 12, 13, generator=generator)
    target = (torch.rand(3, 12, 13, generator=generator) > 0.5).float()
    return logit, target, torch.rand(3, 12, 13, generator=generator) > 0.2


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_unknown_pixels_never_contribute(name: str, seed: int) -> None:
    loss = find("losses", name)
    logit, target, valid = drawn(seed)
    other = torch.where(valid, logit, -50 * logit).requires_grad_()
    value = loss(other, torch.where(valid, target, 1 - target), valid)
    torch.testing.assert_close(value, loss(logit, target, valid), atol=1e-5, rtol=1e-5)
    value.sum().backward()
    assert other.grad is not None and not other.grad[~valid].any()


@pytest.mark.parametrize("name", LOSSES)
def test_one_value_per_chip_so_that_accumulation_is_exact(name: str) -> None:
    loss = find("losses", name)
    logit, target, valid = drawn(1)
    together = loss(logit, target, valid)
    apart = torch.cat([loss(logit[i : i + 1], target[i : i + 1], valid[i : i + 1]) for i in range(3)])
    assert together.shape == (3,)
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize("name", LOSSES)
def test_right_is_better_than_wrong_and_near_zero(name: str) -> None:
    loss = find("losses", name)
    target = torch.zeros(1, 24, 24)
    target[:, 6:18, 5:15] = 1
    valid = torch.ones_like(target, dtype=torch.bool)
    sure, nothing = 20 * (2 * target - 1), torch.full_like(target, -20)
    assert loss(sure, target, valid) < 0.05 < loss(nothing, target, valid)


@pytest.mark.parametrize("name", LOSSES)
def test_a_chip_without_known_pixels_is_silent(name: str) -> None:
    logit = torch.randn(1, 8, 8, requires_grad=True)
    value = find("losses", name)(logit, torch.zeros(1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.bool))
    value.sum().backward()
    assert value == 0 and logit.grad is not None and not logit.grad.any()


def test_golden_values() -> None:
    """By hand: two pixels, p = 0.5 and 0.75 (logit log 3), both cropland."""
    logit = torch.tensor([[[0.0, math.log(3)]]])
    one, valid = torch.ones(1, 1, 2), torch.ones(1, 1, 2, dtype=torch.bool)

    def value(name: str) -> float:
        return float(find("losses", name)(logit, one, valid))

    assert value("cross_entropy") == pytest.approx((0.693147 + 0.287682) / 2, abs=1e-5)
    assert value("focal") == pytest.approx((0.25 * 0.693147 + 0.0625 * 0.287682) / 2, abs=1e-5)
    assert value("dice") == pytest.approx(1 - (2 * 1.25 + 0.02) / (3.25 + 0.02), abs=1e-5)


def test_lovasz_of_one_wrong_pixel_is_its_jaccard_loss() -> None:
    """Hinge errors 2 and 0 at logits -1 and 1 on two cropland pixels: 2 x (1 - 1/2), Berman et al. 2018, eq. 8 and
    9."""
    logit, one = torch.tensor([[[-1.0, 1.0]]]), torch.ones(1, 1, 2)
    assert float(find("losses", "lovasz")(logit, one, one.bool())) == pytest.approx(1.0)
