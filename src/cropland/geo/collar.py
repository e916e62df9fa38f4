"""Find an undeclared black or white collar: one value in every band, connected to the border."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Num
from scipy import ndimage

from cropland.geo.nodata import Collar, NoData, is_near
from cropland.geo.tiles import Window

__all__ = ["find_collar"]

CELLS = 512  # rows and columns of the coarse picture at most
SMALLEST = 0.002  # share of the scene
GLANCES = 16  # rows at which the left and the right border are looked at before the whole scene is
SOFT = 0.1  # of the median: a neighbour so near the value is its shading, as around water or cloud


def find_collar(no_data: NoData, shape: tuple[int, int], *, tolerance: float) -> Collar | None:
    """The collar of a scene of that shape, if it has one.

    A collar is abrupt: where most neighbours are nearly as dark or as bright, it is water, shadow or cloud.
    tolerance: what a lossy compression may have added to the value.
    """
    for value in _candidates(no_data.layers[0].dtype):
        if _at_border(no_data, shape, value=value, tolerance=tolerance):
            region = _region(no_data, shape, value=value, tolerance=tolerance)
            if region.any():
                reached = ndimage.binary_dilation(region, np.ones((3, 3)))
                return Collar(value, tolerance, reached, shape)
    return None


def _candidates(dtype: str) -> tuple[float, ...]:
    return (0,) if np.issubdtype(np.dtype(dtype), np.floating) else (0, np.iinfo(dtype).max)


def _at_border(no_data: NoData, shape: tuple[int, int], *, value: float, tolerance: float) -> bool:
    """Whether the value stands at the border at all: a few blocks instead of the whole scene."""
    if max(shape) <= CELLS:
        return True
    for window in _glances(*shape):
        values, valid = no_data.read(no_data.layers, window)
        near = is_near(values, value, tolerance)
        if (near if valid is None else near & valid).any():
            return True
    return False


def _glances(height: int, width: int) -> Iterator[Window]:
    yield Window(0, 0, 1, width)
    yield Window(height - 1, 0, 1, width)
    for row in np.linspace(0, height - 1, min(GLANCES, height)).astype(int):
        yield Window(int(row), 0, 1, 1)
        yield Window(int(row), width - 1, 1, 1)


def _region(
    no_data: NoData, shape: tuple[int, int], *, value: float, tolerance: float
) -> Bool[np.ndarray, "cell_row cell_col"]:
    coarse = (min(shape[0], CELLS), min(shape[1], CELLS))
    values, valid = no_data.read(no_data.layers, Window(0, 0, *shape), shape=coarse)
    known = np.ones(coarse, bool) if valid is None else valid
    region = _connected(is_near(values, value, tolerance) & known)
    if region.sum() < SMALLEST * region.size or not _is_abrupt(values, region, known, value):
        return np.zeros(coarse, bool)
    return region


def _connected(filled: Bool[np.ndarray, "row col"]) -> Bool[np.ndarray, "row col"]:
    """The part that touches the border."""
    labels, _ = ndimage.label(filled)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.isin(labels, border[border > 0])


def _is_abrupt(values: Num[np.ndarray, "layer row col"], region: np.ndarray, known: np.ndarray, value: float) -> bool:
    around = ndimage.binary_dilation(region) & ~region & known
    if not around.any():
        return True
    distance = SOFT * float(np.median(values[:, known & ~region]))
    return float(is_near(values, value, distance)[around].mean()) < 0.5
