"""The fused execution of the block; its contract as a block is in test_blocks.py."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cropland.blocks.separable import Separable
from cropland.streaming.receptive_field import field
from shaken import shaken


def pair(channels_in: int, channels_out: int, **options: object) -> tuple[nn.Module, nn.Module]:
    layers = shaken(Separable(channels_in, channels_out, **options))
    fused = Separable(channels_in, channels_out, **options, execution="fused").eval()
    fused.load_state_dict(layers.state_dict())
    return layers, fused


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 30), st.integers(1, 70), st.sampled_from([1, 3]))
def test_fused_is_equal_but_for_rounding(before: int, after: int, height: int, width: int, rate: int):
    layers, fused = pair(16 * before, 16 * after, rate=rate)
    image = torch.randn(1, 16 * before, height, width)
    with torch.no_grad():
        torch.testing.assert_close(fused(image), layers(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{"stride": 2}, {"kernel": 5}, {"norm": "channel_norm"}], ids=str)
def test_what_cannot_be_fused_goes_on_in_layers(options: dict[str, object]):
    layers, fused = pair(16, 32, **options)
    image = torch.randn(1, 16, 20, 21)
    with torch.no_grad():
        assert not fused.can_be_fused(image)
        assert torch.equal(fused(image), layers(image))


def test_it_trains_in_layers_and_knows_its_field():
    _, fused = pair(16, 16)
    image = torch.randn(2, 16, 12, 12, requires_grad=True)
    fused.train()(image).sum().backward()
    assert image.grad is not None
    assert field(Separable(16, 16, execution="fused").eval(), 16).radius == 1


def test_an_output_that_is_held_is_not_written_over():
    _, fused = pair(16, 16)
    with torch.no_grad():
        first = fused(torch.randn(1, 16, 24, 24))
        kept = first.clone()
        for _ in range(5):
            fused(torch.randn(1, 16, 24, 24))
    assert torch.equal(first, kept)
