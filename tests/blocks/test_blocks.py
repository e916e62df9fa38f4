"""What holds for every block on the shelf, and what is particular to some."""

import inspect
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cropland.blocks.inverted_residual import InvertedResidual, same_padding
from cropland.catalog import find, names
from shaken import shaken

HALVE = {"max_pool", "average_pool", "strided"}
DOUBLE = {"bilinear", "transposed"}
SIZES = ((8, 8), (9, 14), (7, 11))


def made(name: str, channels: int = 8, out: int = 12) -> tuple[nn.Module, int]:
    """The block and the number of channels that it gives."""
    block = find("blocks", name)
    if "channels" in inspect.signature(block).parameters:
        return block(channels), channels
    return block(channels, out), out


@pytest.mark.parametrize("name", names("blocks"))
@pytest.mark.parametrize("size", SIZES)
def test_shape_is_as_the_kind_of_block_says(name: str, size: tuple[int, int]) -> None:
    block, out = made(name)
    if name in HALVE:
        size_out = tuple(math.ceil(length / 2) for length in size)
    else:
        size_out = tuple(length * 2 for length in size) if name in DOUBLE else size
    assert block(torch.randn(2, 8, *size)).shape == (2, out, *size_out)


@pytest.mark.parametrize("name", names("blocks"))
def test_gradient_reaches_the_input_and_every_weight(name: str) -> None:
    torch.manual_seed(0)
    block, _ = made(name)
    x = torch.randn(2, 8, 9, 9, requires_grad=True)
    # A random projection: the plain sum of a normalised map is constant.
    y = block(x)
    (y * torch.randn_like(y)).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    for label, weight in block.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, label


@pytest.mark.parametrize("name", names("blocks"))
def test_evaluation_does_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    block = shaken(made(name)[0])
    x = torch.randn(3, 8, 9, 9)
    torch.testing.assert_close(block(x)[1:2], block(x[1:2]), atol=1e-5, rtol=1e-5)


def test_parameters_follow_the_formulas() -> None:
    def count(name: str, **options: object) -> int:
        convolutions = (m for m in find("blocks", name)(8, 12, **options).modules() if isinstance(m, nn.Conv2d))
        return sum(m.weight.numel() for m in convolutions)

    assert count("convolution") == 9 * 8 * 12
    assert count("atrous", rate=7) == 9 * 8 * 12
    assert count("separable") == 9 * 8 + 8 * 12


def test_atrous_is_a_convolution_with_holes() -> None:
    block = shaken(find("blocks", "atrous")(2, 3, rate=3))
    weight = block.convolution.weight
    wide = torch.zeros(3, 2, 7, 7)
    wide[:, :, ::3, ::3] = weight
    x = torch.randn(1, 2, 12, 13)
    torch.testing.assert_close(block.convolution(x), F.conv2d(x, wide, padding=3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [16, 18])
def test_same_padding_is_that_of_tensorflow_at_even_sizes(kernel: int, size: int) -> None:
    """TensorFlow: total = max((ceil(n / s) - 1) s + k - n, 0), the smaller half before (tf.nn, 'same')."""
    total = (math.ceil(size / 2) - 1) * 2 + kernel - size
    before, after, _, _ = same_padding(kernel, stride=2)
    assert before == total // 2
    x = torch.randn(1, 1, size, size)
    weight = torch.randn(1, 1, kernel, kernel)
    theirs = F.conv2d(F.pad(x, (before, total - before) * 2), weight, stride=2)
    torch.testing.assert_close(F.conv2d(F.pad(x, (before, after) * 2), weight, stride=2), theirs)


@pytest.mark.parametrize("size", [15, 16])
def test_a_strided_inverted_residual_shifts_with_its_input_at_any_size(size: int) -> None:
    block = shaken(InvertedResidual(3, 4, kernel=5, stride=2))
    x = torch.randn(1, 3, size, size)
    shifted = block(x[..., 4:, 4:])
    torch.testing.assert_close(shifted[..., 2:, 2:], block(x)[..., 4:, 4:], atol=1e-5, rtol=1e-5)


def test_channel_norm_looks_at_one_pixel_only() -> None:
    block = shaken(find("blocks", "channel_norm")(6))
    x = torch.randn(1, 6, 4, 4)
    torch.testing.assert_close(block(x)[..., 2:3, 1:2], block(x[..., 2:3, 1:2]))
