"""Stacks as their cases say, counted and timed in turn."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cropland.lab.measure import Times
from cropland.lab.stacks import BLOCKS, Case, both, forward, gain, image_of, in_turn, stack

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels", [16, 96])
def test_what_multiply_adds_promise_is_what_a_counter_counts(channels: int):
    case, counted = Case(channels, 8), {}
    for kind, run in both(case, CPU).items():
        with FlopCounterMode(display=False) as counter:
            run()
        counted[kind] = counter.get_total_flops()
    assert case.promised == pytest.approx(counted["ordinary"] / counted["separable"])


def test_a_case_is_halved_until_four_maps_fit():
    case = Case(8, 64, batch=2)
    maps = 4 * 4 * 2 * 8 * 64**2
    assert case.fitting(maps) == case
    assert case.fitting(maps - 1).size == 32
    assert case.fitting(maps / 16).size == 16
    assert case.fitting(0).size == 1


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_image_and_weights_lie_as_the_case_says(layout: torch.memory_format):
    case = Case(8, 16, batch=3, layers=2, dtype=torch.bfloat16, layout=layout)
    network, image = stack(BLOCKS["ordinary"], case, CPU), image_of(case, CPU)
    assert image.shape == (3, 8, 16, 16) and image.dtype == torch.bfloat16
    assert image.is_contiguous(memory_format=layout) and network(image).is_contiguous(memory_format=layout)
    assert len(network) == 2 and not network.training
    assert all(weight.dtype == torch.bfloat16 for weight in network.parameters())


def test_forward_keeps_no_graph():
    y = forward(BLOCKS["separable"], Case(4, 8), CPU)()
    assert isinstance(y, torch.Tensor) and y.shape == (1, 4, 8, 8) and not y.requires_grad


def test_gain_is_how_many_times_as_long_the_ordinary_stack_takes():
    times = {"ordinary": Times(9.0, (6.0, 8.0)), "separable": Times(9.0, (2.0, 4.0))}
    assert gain(times).value == pytest.approx(2.5)


def test_every_way_is_timed_in_turn():
    calls: list[str] = []
    ways = {way: {kind: lambda at=f"{way}{kind}": calls.append(at) for kind in "ab"} for way in "xy"}
    times = in_turn(ways, CPU, rounds=3)
    assert {way: set(its) for way, its in times.items()} == {"x": {"a", "b"}, "y": {"a", "b"}}
    assert calls[:4] == ["xa", "xb", "ya", "yb"] and len(times["x"]["a"].samples) == 3
