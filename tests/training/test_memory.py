"""Precision and memory order of training."""

import copy
import json
import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from cropland.data.batches import Batch
from cropland.recipe import Layout, Precision
from cropland.training.memory import autocast, place_batch, place_network

CPU = torch.device("cpu")


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_recipe_decides_the_precision(precision: Precision, dtype: torch.dtype) -> None:
    with autocast(CPU, precision):
        assert nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 2, 2)).dtype == dtype


@pytest.mark.parametrize(("fast", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_auto_is_what_the_hardware_multiplies(fast: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    with autocast(CPU):
        assert nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 2, 2)).dtype == dtype


@pytest.mark.parametrize(("stride", "padding", "kernel"), [(1, 2, 5), (2, 1, 3), (2, 0, 5)])
def test_gradients_of_a_depthwise_convolution_are_of_single_precision(stride: int, padding: int, kernel: int) -> None:
    """Those of the same rounded numbers in double precision, where bfloat16 would be wrong by a thousandth."""
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 16, kernel, stride, padding, groups=16)
    image = torch.randn(2, 16, 24, 24).bfloat16().float().requires_grad_()
    with autocast(CPU, "bfloat16"):
        made = layer(image)
    assert made.dtype == torch.bfloat16
    ahead = torch.randn(made.shape).bfloat16()
    made.backward(ahead)
    exact = copy.deepcopy(layer).double()
    again = image.detach().double().requires_grad_()
    exact.weight.data = layer.weight.data.double()
    exact.zero_grad()
    exact(again).backward(ahead.double())
    torch.testing.assert_close(layer.weight.grad.double(), exact.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(image.grad.double(), again.grad, rtol=1e-2, atol=1e-2)  # it is rounded to bfloat16


def test_a_depthwise_layer_that_leaves_autocast_stays_in_single_precision() -> None:
    layer, image = nn.Conv2d(4, 4, 3, groups=4), torch.randn(1, 4, 8, 8)
    with autocast(CPU, "bfloat16"), torch.autocast("cpu", enabled=False):
        assert layer(image).dtype == torch.float32


@pytest.mark.parametrize(("layout", "strides"), [("channels_last", (12, 1, 6, 3)), ("channels_first", (12, 4, 2, 1))])
def test_the_recipe_decides_the_memory_order(layout: Layout, strides: tuple[int, ...]) -> None:
    blank = torch.zeros(2, 2, 2)
    placed = place_batch(Batch(torch.randn(2, 3, 2, 2), blank, blank > 0, ("a", "b")), CPU, layout=layout)
    network = place_network(nn.Conv2d(3, 5, 2), CPU, layout=layout)
    assert placed.image.stride() == network.weight.stride() == strides
    assert placed.part(1, 2).image.stride() == strides


CHILD = """
import json, resource, sys, torch
from cropland.training.memory import keep_memory
kept = keep_memory(torch.device("cpu")) if sys.argv[1] == "kept" else None
for _ in range(6):
    torch.ones(2**24).sum()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(2**24).sum()
print(json.dumps([kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before]))
"""


def pages(way: str) -> tuple[bool | None, int]:
    done = subprocess.run([sys.executable, "-c", CHILD, way], capture_output=True, encoding="utf-8", check=True)
    kept, count = json.loads(done.stdout)
    return kept, count


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the switch")
def test_memory_is_made_present_once():
    _, anew = pages("given back")
    kept, again = pages("kept")
    assert kept is True
    assert again < anew / 2
