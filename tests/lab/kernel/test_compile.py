"""The compiled kernel against two convolutions in double precision, for any shape and number of threads."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from cropland.lab.kernel import compile as kernels
from cropland.lab.kernel.separable import Shape, module

SIXTEENS = st.integers(1, 5).map(lambda n: 16 * n)


@settings(max_examples=25, deadline=None)
@given(
    channels=st.tuples(SIXTEENS, SIXTEENS),
    size=st.tuples(st.integers(1, 20), st.integers(4, 140)),
    batch=st.integers(1, 2),
    rate=st.sampled_from([1, 2, 6]),
    seed=st.integers(0, 9),
)
def test_equal_to_the_two_convolutions_in_double(channels, size, batch, rate, seed):
    torch.manual_seed(seed)
    before, after = channels
    image, filters = torch.randn(batch, before, *size), torch.randn(before, 1, 3, 3)
    matrix, shift = torch.randn(after, before, 1, 1) / before**0.5, torch.randn(after)
    with torch.no_grad():
        found = kernels.separable(image, filters, matrix, shift, rate=rate)
    filtered = F.conv2d(image.double(), filters.double(), padding=rate, dilation=rate, groups=before)
    true = F.relu(F.conv2d(filtered, matrix.double(), shift.double()))
    assert (found - true).abs().max() <= 2e-6 * (1 + true.abs().max())


def test_threads_do_not_change_the_result():
    threads, parts = torch.get_num_threads(), (torch.randn(32, 1, 3, 3), torch.randn(48, 32, 1, 1), torch.randn(48))
    image = torch.randn(1, 32, 33, 70)
    try:
        torch.set_num_threads(1)
        alone = kernels.separable(image, *parts)
        torch.set_num_threads(3)
        assert torch.equal(kernels.separable(image, *parts), alone)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("image", "channels_out"),
    [
        (torch.zeros(1, 17, 8, 8), 16),
        (torch.zeros(1, 16, 8, 8), 24),
        (torch.zeros(1, 16, 8, 3), 16),
        (torch.zeros(1, 16, 0, 8), 16),
        (torch.zeros(1, 16, 8, 8).double(), 16),
        (torch.zeros(1, 16, 8, 8, device="meta"), 16),
    ],
    ids=["17 channels", "24 outputs", "3 columns", "no row", "double", "meta"],
)
def test_what_does_not_fit(image: torch.Tensor, channels_out: int):
    with torch.no_grad():
        assert not kernels.fits(image, channels_out)


def test_gradients_are_not_for_the_kernel():
    assert not kernels.fits(torch.zeros(1, 16, 8, 8), 16)


@pytest.mark.parametrize(("lanes", "vectors"), [(16, 4), (8, 2), (4, 4)], ids=["AVX-512", "AVX2", "NEON"])
def test_every_processor_has_a_tile(lanes: int, vectors: int):
    import llvmlite.binding as llvm

    parsed = llvm.parse_assembly(str(module(Shape(32, 48, 1, lanes, 4, vectors))))
    parsed.verify()
    assert f"<{lanes} x float>" in str(parsed)
