"""How the residual network halves, and how boundaries are counted."""

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from cropland.lab.chapters.pooling.trained import judge, resunet
from cropland.lab.trials import Trial, chip_folder
from cropland.model import build_network

CHIPS = chip_folder(None).where(split="validation")
RECIPE = resunet("max_pool")


class Constant(nn.Module):
    """Everything is cropland."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.ones(1))

    def forward(self, x: Float[Tensor, "batch band height width"]) -> Tensor:
        return self.level * torch.ones_like(x[:, :1])


@pytest.mark.parametrize("down", ["max_pool", "average_pool", "strided"])
def test_the_residual_network_halves_by_the_block(down: str):
    network = build_network(resunet(down)).eval()
    learnt = any(weight.numel() for weight in network.encoder.downs.parameters())
    assert learnt == (down == "strided")
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 1, 32, 32)


def test_a_map_of_one_class_has_no_boundary():
    assert judge(Trial(0.0, (), (), Constant()), RECIPE, CHIPS).f1 == 0


def test_boundaries_count_between_none_and_all():
    torch.manual_seed(0)
    found = judge(Trial(0.0, (), (), build_network(RECIPE)), RECIPE, CHIPS)
    assert 0 <= found.f1 <= 1
    assert 0 < found.threshold < 1
