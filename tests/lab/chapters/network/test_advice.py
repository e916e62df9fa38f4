"""The rule by which changes promise, and a part made separable."""

import pytest
import torch
from torch import nn

from cropland.lab.chapters.network.advice import Bill, bounds, promises, separable_savings, speedup, with_separable
from cropland.lab.measure import exactly
from cropland.lab.parts import Body, operations
from cropland.lab.roofline import Roofline
from cropland.show import NetworkPart

C, EDGE = 8, 16
ARITHMETIC = Roofline({"float32": {"": exactly(1e9)}, "bfloat16": {"": exactly(2e9)}}, {1: exactly(1e18)})
MEMORY = Roofline({"float32": {"": exactly(1e18)}, "bfloat16": {"": exactly(1e18)}}, {1: exactly(1e9)})


def bill(roof: Roofline, *, slowness: float) -> Bill:
    """One ordinary convolution and one pointwise, each `slowness` times the roofline's least."""
    network = nn.Sequential(nn.Conv2d(C, C, 3, padding=1, bias=False), nn.Conv2d(C, C, 1, bias=False)).eval()
    layers = tuple(NetworkPart(name, "Conv2d", C, 1, 0, 0.0) for name in "01")
    body = Body(network, layers, torch.rand(1, C, EDGE, EDGE))
    work = operations(network, body.names, body.image)
    least = bounds(work, body.names, roof)
    seconds = {"": 0.0, **{name: slowness * value for name, value in least.items()}}
    return Bill(body, work, [seconds], seconds, least, roof)


def test_where_arithmetic_binds_a_separable_part_takes_the_multiply_adds_it_has():
    its = bill(ARITHMETIC, slowness=2.0)
    assert separable_savings(its) == {"0": pytest.approx(its.seconds["0"] * (1 - (9 + C) / (9 * C)))}


def test_where_memory_binds_a_separable_part_promises_a_loss():
    assert separable_savings(bill(MEMORY, slowness=1.0))["0"] < 0


def test_half_the_resolution_leaves_a_quarter_and_sixteen_bits_the_ratio_of_rates():
    its = bill(ARITHMETIC, slowness=3.0)
    total, found = sum(its.seconds.values()), promises(its)
    assert found["half the resolution"] == pytest.approx(0.75 * total)
    assert found["bfloat16"] == pytest.approx(0.5 * total)
    assert found["at the roofline: 1. 0"] == pytest.approx(its.seconds["0"] * 2 / 3)


def test_savings_take_their_share_of_what_is_left():
    assert speedup([5.0, 5.0], 10.0) == pytest.approx(4.0)
    assert speedup([], 10.0) == 1.0


def test_a_part_becomes_separable_and_keeps_its_shape():
    part = nn.Sequential(
        nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.Conv2d(6, 6, 3, padding=2, dilation=2), nn.Conv2d(6, 2, 1)
    )
    network, image = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), part), torch.rand(1, 4, 9, 9)
    shape = network(image).shape
    changed = with_separable(network, "1")
    assert changed(image).shape == shape
    assert sum(value.numel() for value in changed[1][0].parameters()) == 4 * 9 + 4 * 6
    assert isinstance(changed[0], nn.Conv2d) and isinstance(changed[1][2], nn.Conv2d)


def test_a_part_that_is_a_convolution_itself_is_changed_too():
    assert isinstance(with_separable(nn.Sequential(nn.Conv2d(4, 4, 3)), "0")[0], nn.Sequential)
