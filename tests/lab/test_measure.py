import time

import pytest
import torch
from torch import nn

from cropland.lab.measure import interleave, ratio
from cropland.training.memory import place_network

CPU = torch.device("cpu")


def test_contenders_take_turns_after_the_warm_up():
    order: list[str] = []
    slow = 0.003  # longer than the least sample, so that a sample is one call

    def note(name: str) -> None:
        order.append(name)
        time.sleep(slow)

    times = interleave({"a": lambda: note("a"), "b": lambda: note("b")}, CPU, rounds=3, warm=1)
    assert "".join(order) == "ab" + "ab" + "ababab"
    assert len(times["a"].samples) == 3 and min(times["a"].samples) >= slow


def test_short_calls_are_repeated_within_a_sample():
    calls: list[None] = []
    times = interleave({"tiny": lambda: calls.append(None)}, CPU, rounds=5)
    assert len(calls) > 1000
    assert times["tiny"].number.value < 1e-4


def test_the_first_call_is_told_apart():
    waits = iter([0.05])
    times = interleave({"compiles": lambda: time.sleep(next(waits, 0.003))}, CPU, rounds=3)
    assert times["compiles"].first >= 0.05 > max(times["compiles"].samples)


def test_a_ratio_is_taken_round_by_round():
    times = interleave({"slow": lambda: time.sleep(0.02), "fast": lambda: time.sleep(0.005)}, CPU, rounds=5)
    number = ratio(times["slow"], times["fast"])
    assert number.low <= number.value <= number.high
    assert number.value == pytest.approx(4, rel=0.4)


def test_networks_lie_channels_last():
    assert place_network(nn.Conv2d(4, 8, 3), CPU).weight.is_contiguous(memory_format=torch.channels_last)
