"""A network followed part by part."""

import time

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cropland.lab.measure import Budget
from cropland.lab.parts import REST, forward_times, kept, open_body, operations, training_times

CPU = torch.device("cpu")
IMAGE = torch.rand(1, 2, 16, 16)


class Sleepy(nn.Module):
    """Takes its time, in both directions."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.01)
        y = 2 * x
        if y.requires_grad:
            y.register_hook(lambda gradient: time.sleep(0.02))
        return y


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.ConvTranspose2d(4, 1, 2, 2)
    )


def test_multiply_adds_are_those_of_torch():
    network = small()
    with FlopCounterMode(display=False) as counter:
        network(IMAGE)
    found = operations(network, ["0", "1", "2", "3"], IMAGE)
    assert 2 * sum(operation.multiply_adds for operation in found) == counter.get_total_flops()


def test_every_value_moves_once_and_norms_are_free():
    first, last = operations(small(), ["0", "1", "2", "3"], IMAGE)
    assert first.moved == 4 * (2 * 256 + 4 * 64 + 72 + 4)
    assert last.moved == 4 * (4 * 64 + 256 + 16 + 1)


def test_time_is_found_where_it_goes():
    network = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), Sleepy(), nn.Conv2d(2, 2, 1))
    (found,) = forward_times(network, ["0", "1", "2"], IMAGE, CPU, rounds=1)
    assert found["1"] >= 0.01 and found["1"] > found["0"] + found["2"]
    assert set(found) == {"0", "1", "2", REST} and min(found.values()) >= 0


def test_backward_time_is_found_where_it_goes():
    network = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(inplace=True), Sleepy(), nn.Conv2d(2, 2, 1))
    ((forward, found),) = training_times(network, ["0", "1", "2", "3"], IMAGE, CPU, rounds=1)
    assert forward >= 0.01 and found["2"] >= 0.02
    assert set(found) >= {"0", "1", "2", "3"} and found["2"] > found["0"] + found["1"] + found["3"]


def test_training_leaves_the_network_as_it_was():
    network = small().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training_times(network, ["0"], IMAGE, CPU, rounds=1)
    assert not network.training and all(
        torch.equal(before[name], value) for name, value in network.state_dict().items()
    )


def test_a_map_is_kept_once_and_weights_are_not_counted():
    network = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 1, 1))
    assert kept(network, ["0", "1", "2"], IMAGE) == {"0": 4 * 512, "1": 4 * 1024, "2": 4 * 1024, REST: 0}


@pytest.mark.parametrize("name", ["unet", None])
def test_any_network_opens(name: str | None):
    budget = Budget("tiny", rounds=1, size=32, channels=8, seeds=0, steps=0, every=8, network=name)
    body = open_body(CPU, budget)
    assert not body.network.training and body.network(body.image).shape[-2:] == body.image.shape[-2:]
    assert body.title(body.names[1]) == f"2. {body.names[1]}"
