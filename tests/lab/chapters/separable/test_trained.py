"""What is separable in each network, its multiply-adds, and pairs by seed."""

import pytest
import torch

from cropland.blocks.convolution import Convolution
from cropland.blocks.separable import Separable
from cropland.lab.chapters.separable import trained
from cropland.lab.measure import QUICK
from cropland.lab.trials import Trial, small_recipe
from cropland.model import build_network


@pytest.mark.parametrize(
    ("name", "ordinary", "separable"), [("ordinary", 18, 0), ("half separable", 10, 8), ("wholly separable", 0, 18)]
)
def test_half_is_separable_on_the_way_up_alone(name: str, ordinary: int, separable: int):
    network = build_network(small_recipe(*trained.NETWORKS[name]))
    kinds = [type(module) for module in network.modules()]
    assert (kinds.count(Convolution), kinds.count(Separable)) == (ordinary, separable)
    assert not name.startswith("half") or not any(isinstance(module, Separable) for module in network.encoder.modules())


def test_multiply_adds_are_those_of_one_crop():
    recipe = small_recipe("sampling.crop=32")
    layer = torch.nn.Conv2d(3, 5, 3, padding=1)
    assert trained.work(layer, recipe) == 9 * 3 * 5 * 32 * 32


def test_faster_is_paired_by_seed():
    fast, slow = [trial(2.0), trial(1.0)], [trial(4.0), trial(3.0)]
    assert trained._faster(fast, slow).value == pytest.approx(2.5)


def test_nothing_is_trained_in_a_quick_run():
    findings = list(trained.separable_trained(torch.device("cpu"), QUICK))
    assert [finding.missing for finding in findings] == ["nothing is trained in a quick run"] * 3


def trial(seconds: float) -> Trial:
    return Trial(0.5, (1.0, 1.0), (seconds / 2, seconds), torch.nn.Identity())
