"""Tiles cover a grid once, and networks of any stride see the same cells."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cropland.geo.window import Window, tiles

LENGTH = st.integers(1, 90)


@given(shape=st.tuples(LENGTH, LENGTH), size=st.integers(1, 40), halo=st.integers(0, 30), stride=st.integers(1, 16))
def test_cores_partition_the_grid_inside_their_padding(shape, size, halo, stride):
    seen = np.zeros(shape, int)
    for core, padded in tiles(shape, size=size, halo=halo, stride=stride):
        seen[core.slices] += 1
        assert padded.row % stride == 0 and padded.col % stride == 0
        for first, count, outer, outer_count, length in zip(
            core[:2], core[2:], padded[:2], padded[2:], shape, strict=True
        ):
            assert outer <= max(0, first - halo)
            assert min(length, first + count + halo) <= outer + outer_count <= length
    assert (seen == 1).all()


def test_inner_is_the_core_seen_from_the_padded_window():
    grid = np.arange(100).reshape(10, 10)
    for tile in tiles((10, 10), size=4, halo=3, stride=2):
        np.testing.assert_array_equal(grid[tile.padded.slices][tile.inner.slices], grid[tile.core.slices])


def test_slices_and_shape():
    window = Window(2, 3, 4, 5)
    assert (window.slices, window.shape) == ((slice(2, 6), slice(3, 8)), (4, 5))
