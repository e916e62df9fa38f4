"""Networks of one's own are fitted to the contract, or told what they gave."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cropland.contract import adapt, build_own, check_network
from cropland.errors import ModelError
from cropland.recipe import Network, Recipe


class Made(nn.Module):
    """A convolution and what a function makes of its output."""

    def __init__(self, outputs: int = 1, make: Callable[[Tensor], object] = lambda y: y, *, halves: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.make, self.halves = nn.Conv2d(3, outputs, 3, padding=1), make, halves

    def forward(self, x: Tensor) -> object:
        for _ in range(self.halves):
            x = functional.max_pool2d(x, 2)
        for _ in range(self.halves):
            x = functional.interpolate(x, scale_factor=2.0)
        return self.make(self.layer(x))


def fitted(network: nn.Module, size: tuple[int, int] = (70, 53)) -> tuple[nn.Module, Tensor, Tensor]:
    adapted = adapt(network, "net", bands=3, outputs=1)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        return adapted, x, adapted(x)


def test_what_fits_is_left_alone():
    network = Made()
    assert adapt(network, "net", bands=3, outputs=1) is network


def test_a_missing_axis_is_added():
    network = Made(make=lambda y: y[:, 0])
    _, x, y = fitted(network)
    assert torch.equal(y, network.layer(x))


def test_two_classes_become_one_logit_exactly():
    network = Made(2).double()
    x = torch.randn(2, 3, 40, 33, dtype=torch.float64)
    logit = adapt(Made(2), "net", bands=3, outputs=1).double()(x)
    torch.testing.assert_close(logit.sigmoid()[:, 0], network(x).softmax(1)[:, 1], rtol=1e-12, atol=1e-12)


def test_two_outputs_that_are_wanted_stay_two():
    network = Made(2)
    assert adapt(network, "net", bands=3, outputs=2) is network


@pytest.mark.parametrize("axis", [True, False])
def test_a_sigmoid_is_undone(axis: bool):
    network = Made(make=lambda y: y.sigmoid() if axis else y.sigmoid()[:, 0])
    _, x, y = fitted(network)
    torch.testing.assert_close(y, network.layer(x), rtol=1e-4, atol=1e-4)


def test_a_softmax_is_undone():
    network = Made(2, make=lambda y: y.softmax(1))
    _, x, y = fitted(network)
    both = network.layer(x)
    torch.testing.assert_close(y, both[:, 1:] - both[:, :1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("halves", [1, 3, 5])
def test_sizes_that_must_divide_are_padded(halves: int):
    network = Made(halves=halves)
    adapted, _, y = fitted(network)
    assert adapted.divisor == 2**halves
    assert y.shape == (2, 1, 70, 53)
    even = torch.randn(1, 3, 64, 96)
    assert torch.equal(adapted(even), network(even))


@pytest.mark.parametrize("make", [lambda y: {"out": y}, lambda y: {"logits": y}, lambda y: [y], lambda y: (y,)])
def test_the_one_tensor_is_taken_out(make: Callable[[Tensor], object]):
    network = Made(make=make)
    _, x, y = fitted(network)
    assert torch.equal(y, network.layer(x))


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (nn.Conv2d(4, 1, 1), r"fails on an image of \(2, 3, 64, 64\).*4 channels"),
        (Made(5), r"\(2, 3, 64, 64\) gave \(2, 5, 64, 64\), expected"),
        (nn.Conv2d(3, 1, 2, stride=2), r"gave \(2, 1, 32, 32\)"),
        (Made(make=lambda y: (y, y)), "output is a tuple"),
        (Made(make=lambda y: y.reshape(2, 1, 64, 64)), "not of other sizes"),
    ],
)
def test_what_does_not_fit_is_told_with_its_shapes(network: nn.Module, said: str):
    with pytest.raises(ModelError, match=said):
        adapt(network, "net", bands=3, outputs=1)


def test_a_network_that_is_there_already_is_copied():
    network = Made()
    built = build_own(network, "net", {}, bands=3, outputs=1)
    assert built is not network and torch.equal(built.layer.weight, network.layer.weight)


def test_the_word_none_is_none():
    built = build_own(
        lambda weights, outputs: Made(outputs, weights or (lambda y: y)),
        "net",
        {"weights": "None", "outputs": 1},
        bands=3,
        outputs=1,
    )
    assert isinstance(built, Made)


def test_options_and_things_that_are_no_network():
    with pytest.raises(ModelError, match=r"does not take these options.*width"):
        build_own(Made, "net", {"width": 3}, bands=3, outputs=1)
    with pytest.raises(ModelError, match=r"makes a dict, expected a torch\.nn\.Module"):
        build_own(dict, "net", {}, bands=3, outputs=1)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (nn.MaxPool2d(2), r"gave \(1, 3, 32, 32\), expected \(1, 1, 64, 64\)"),
        (Made(halves=1), r"input of \(1, 3, 75, 90\) gave \(1, 1, 74, 90\)"),
        (Made(make=lambda y: {"out": y}), "gave a dict"),
        (nn.Conv2d(4, 1, 1), r"fails on an image of \(1, 3, 64, 64\).*4 channels"),
    ],
)
def test_before_training_every_network_must_keep_the_contract_itself(network: nn.Module, said: str):
    recipe = Recipe(name="net", network=Network(name="unet"))
    check_network(Made(), recipe)
    with pytest.raises(ModelError, match=said):
        check_network(network, recipe)
