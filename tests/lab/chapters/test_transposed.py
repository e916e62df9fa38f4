"""The matrix of a convolution, what its transpose recovers, and the power of waves and checkerboards."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cropland.lab.chapters.transposed import STRIP, _alternating, _recovered, peak, sparse_matrix, spectrum

ODD = st.sampled_from([1, 3, 5])
SMOOTH = np.cumsum(np.cumsum(np.random.default_rng(0).normal(size=(256, 320)), 0), 1)


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(kernel=ODD, edge=st.integers(5, 11), stride=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_the_matrix_times_an_image_is_its_convolution(kernel: int, edge: int, stride: int, seed: int):
    weight, image = draw(kernel, kernel, seed=seed), draw(1, 1, edge, edge, seed=seed + 1)
    expected = F.conv2d(image, weight[None, None], stride=stride, padding=kernel // 2)
    found = sparse_matrix(weight, edge, stride=stride) @ image.flatten()
    torch.testing.assert_close(found, expected.flatten())


@given(kernel=ODD, edge=st.integers(5, 11), stride=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_its_transpose_is_the_transposed_convolution(kernel: int, edge: int, stride: int, seed: int):
    weight, small = draw(kernel, kernel, seed=seed), (edge - 1) // stride + 1
    y = draw(1, 1, small, small, seed=seed + 1)
    # Output padding says which of the sizes that shrink to `small` it was.
    rest = edge - ((small - 1) * stride + 1)
    expected = F.conv_transpose2d(y, weight[None, None], stride=stride, padding=kernel // 2, output_padding=rest)
    found = sparse_matrix(weight, edge, stride=stride).T @ y.flatten()
    torch.testing.assert_close(found, expected.flatten())


@given(seed=st.integers(0, 2**31), factor=st.floats(0.01, 100))
def test_an_image_is_recovered_at_any_scale(seed: int, factor: float):
    x = draw(30, seed=seed)
    assert _recovered(factor * x, x) == pytest.approx(1)
    assert _recovered(-factor * x, x) == pytest.approx(1)


@given(seed=st.integers(0, 2**31))
def test_what_is_recovered_is_the_share_of_a_projection(seed: int):
    found, x = draw(30, seed=seed), draw(30, seed=seed + 1)
    rest = x - (found @ x) / (found @ found) * found
    assert _recovered(found, x) == pytest.approx(float(1 - (rest @ rest) / (x @ x)))


def test_what_lies_at_right_angles_is_not_recovered():
    assert _recovered(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])) == 0


@given(kernel=st.sampled_from([1, 3]), seed=st.integers(0, 2**31))
def test_the_pseudo_inverse_recovers_most(kernel: int, seed: int):
    matrix, x = sparse_matrix(draw(kernel, kernel, seed=seed), 6, stride=2), draw(36, seed=seed + 1)
    inverse, turned = (_recovered(back @ (matrix @ x), x) for back in (torch.linalg.pinv(matrix), matrix.T))
    assert turned <= inverse + 1e-9


@pytest.mark.parametrize(("kernel", "even"), [(2, True), (3, False), (4, True), (5, False)])
def test_equal_weights_alternate_where_the_stride_does_not_divide_the_kernel(kernel: int, even: bool):
    share = _alternating(nn.ConvTranspose2d(1, 1, kernel, 2), low=1.0).value
    assert share == pytest.approx(0, abs=1e-6) if even else share > 0.1


def test_kernel_three_alternates_by_seven_ninths():
    # Along an axis pixels are covered 2, 1, 2, 1 times: a third; both axes 1/3 + 1/3 + 1/9.
    assert _alternating(nn.ConvTranspose2d(1, 1, 3, 2), low=1.0).value == pytest.approx(7 / 9, abs=1e-5)


@pytest.mark.parametrize("period", [2, 4, 8, 16])
def test_a_wave_has_its_power_at_its_frequency(period: int):
    wave = np.broadcast_to(np.cos(2 * np.pi * np.arange(64) / period), (64, 64))
    assert spectrum(wave).argmax() == STRIP // period


def test_rows_and_columns_count_alike():
    np.testing.assert_allclose(spectrum(SMOOTH), spectrum(SMOOTH.T))


def test_a_level_has_no_power():
    assert spectrum(np.full((64, 64), 7.0)).max() == pytest.approx(0)


def test_a_smooth_map_has_no_peak():
    assert peak(spectrum(SMOOTH)) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("period", [2, 4, 8])
def test_a_checkerboard_stands_out(period: int):
    grid = np.indices(SMOOTH.shape).sum(0) % period < period / 2
    assert peak(spectrum(SMOOTH + 20 * grid)) > 1.5 * peak(spectrum(SMOOTH))


def test_what_lies_between_the_lines_is_no_checkerboard():
    wave = np.broadcast_to(np.cos(2 * np.pi * np.arange(320) * 10 / STRIP), SMOOTH.shape)
    assert peak(spectrum(SMOOTH + 20 * wave)) < peak(spectrum(SMOOTH))


def test_a_line_of_its_height():
    power = np.ones(STRIP // 2 + 1)
    power[8::4] = 9
    assert peak(power) == pytest.approx(9)
