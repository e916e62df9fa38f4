"""Laws of resampling: windows are parts, means keep sums, and gaps do not count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropland.geo.resample import resample, resampled_length, taps

RATIO = st.one_of(st.sampled_from([2.0, 3.0, 2.5, 10 / 3, 0.5, 0.3]), st.floats(0.2, 9))


def part(values, valid, ratio, start, count):
    rows, cols = (
        taps(ratio, start=s, count=c, length=n) for s, c, n in zip(start, count, values.shape[1:], strict=True)
    )
    (row, height), (col, width) = rows.span, cols.span
    cut = np.s_[row : row + height, col : col + width]
    return resample(values[:, *cut], None if valid is None else valid[cut], rows=rows, cols=cols)


def whole(values, valid, ratio):
    return part(values, valid, ratio, (0, 0), [resampled_length(n, ratio) for n in values.shape[1:]])


@given(data=st.data(), ratio=RATIO, seed=st.integers(0, 99), gaps=st.booleans())
def test_a_window_is_bit_for_bit_a_part_of_the_whole(data, ratio, seed, gaps):
    random = np.random.default_rng(seed)
    values = random.normal(500, 300, (2, 37, 23)).astype(np.float32)
    valid = random.random((37, 23)) > 0.3 if gaps else None
    all_values, all_valid = whole(values, valid, ratio)
    start = [data.draw(st.integers(0, n - 1)) for n in all_values.shape[1:]]
    count = [data.draw(st.integers(1, n - s)) for n, s in zip(all_values.shape[1:], start, strict=True)]
    got, got_valid = part(values, valid, ratio, start, count)
    cut = np.s_[start[0] : start[0] + count[0], start[1] : start[1] + count[1]]
    assert np.array_equal(got, all_values[:, *cut])
    assert got_valid is None if valid is None else np.array_equal(got_valid, all_valid[cut])


@given(ratio=RATIO, seed=st.integers(0, 9))
def test_no_gaps_is_the_same_as_all_valid(ratio, seed):
    values = np.random.default_rng(seed).integers(0, 255, (1, 19, 31)).astype(np.uint8)
    ours, theirs = whole(values, None, ratio), whole(values, np.ones((19, 31), bool), ratio)
    assert np.array_equal(ours[0], theirs[0]) and theirs[1].all()


@given(ratio=st.floats(1.001, 8), height=st.integers(1, 40), width=st.integers(1, 40))
def test_every_source_pixel_counts_by_its_area(ratio, height, width):
    """The mean of the coarse pixels, weighed by their area inside the scene, is the mean of the fine ones."""
    values = np.random.default_rng(1).random((1, height, width)).astype(np.float32)
    coarse, _ = whole(values, None, ratio)
    edges = [np.minimum(np.arange(n + 1) * ratio, m) for n, m in zip(coarse.shape[1:], (height, width), strict=True)]
    area = np.outer(*(np.diff(e) for e in edges))
    np.testing.assert_allclose((coarse[0] * area).sum() / area.sum(), values.mean(), rtol=2e-5)


def test_means_of_whole_ratios_are_block_means():
    values = np.arange(48, dtype=np.uint16).reshape(1, 6, 8)
    np.testing.assert_array_equal(whole(values, None, 2.0)[0][0], values[0].reshape(3, 2, 4, 2).mean((1, 3)))


def test_half_a_pixel_of_data_is_enough_and_only_data_count():
    values = np.array([[[10, 20], [99, 99]]], np.uint8)
    mean, enough = whole(values, np.array([[True, True], [False, False]]), 2.0)
    assert enough[0, 0] and mean[0, 0, 0] == 15
    assert not whole(values, np.array([[True, False], [False, False]]), 2.0)[1][0, 0]


def test_the_last_pixel_reaches_over_the_edge_and_takes_what_is_there():
    assert whole(np.array([[[1, 2, 5]]], np.uint8), None, 2.0)[0].tolist() == [[[1.5, 5.0]]]


@given(ratio=st.floats(0.1, 0.99))
def test_interpolation_keeps_a_plane(ratio):
    values = np.add.outer(np.arange(30.0), 2 * np.arange(30.0))[None].astype(np.float32)
    fine = whole(values, None, ratio)[0][0]
    centre = (np.arange(fine.shape[0]) + 0.5) * ratio - 0.5
    inside = (centre >= 0) & (centre <= 29)
    expected = np.add.outer(centre, 2 * centre)
    np.testing.assert_allclose(fine[np.ix_(inside, inside)], expected[np.ix_(inside, inside)], atol=1e-3)


@pytest.mark.parametrize(
    ("length", "ratio", "pixels"), [(10, 3, 4), (9, 3, 3), (1, 50, 1), (3, 0.5, 6), (10, 10 / 3, 3)]
)
def test_length(length, ratio, pixels):
    assert resampled_length(length, ratio) == pixels
