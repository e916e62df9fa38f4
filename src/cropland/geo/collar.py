"""Find an undeclared black or white collar: one value in every band along the border."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cropland.geo.nodata import Collar, NoData, is_near
from cropland.geo.tiles import Window

__all__ = ["find_collar"]

CELLS = 512  # rows and columns of the coarse picture at most
SMALLEST = 0.002  # share of the scene
GLANCES = 16  # rows at which the left and the right border are looked at before the whole scene is


def find_collar(no_data: NoData, shape: tuple[int, int], *, tolerance: float) -> Collar | None:
    """The collar of a scene of that shape, if it has one.

    A collar runs along the border and is abrupt: where most neighbours are nearly as dark or as bright, it is water,
    shadow or cloud. tolerance: what a lossy compression may have added to the value.
    """
    candidates = _at_border(no_data, shape, tolerance)
    if not candidates:
        return None
    coarse = (min(shape[0], CELLS), min(shape[1], CELLS))
    values, valid = no_data.read(no_data.layers, Window(0, 0, *shape), shape=coarse)
    known = np.ones(coarse, bool) if valid is None else valid
    from cropland.geo.along_border import along_border, grown, is_abrupt  # few scenes come here, and it imports scipy

    for value in candidates:
        region = along_border(is_near(values, value, tolerance) & known)
        if region.mean() >= SMALLEST and is_abrupt(values, region, known, value):
            return Collar(value, tolerance, grown(region), shape)
    return None


def _at_border(no_data: NoData, shape: tuple[int, int], tolerance: float) -> Sequence[float]:
    """Black and white, as far as they stand at the border at all: a few blocks instead of the whole scene."""
    dtype = np.dtype(no_data.layers[0].dtype)
    candidates = (0,) if dtype.kind == "f" else (0, int(np.iinfo(dtype).max))
    if max(shape) <= CELLS:
        return candidates
    with ThreadPoolExecutor(2) as pool:  # blocks are decoded
        seen = list(pool.map(lambda window: no_data.read(no_data.layers, window)[0], _glances(*shape)))
    return [value for value in candidates if any(is_near(values, value, tolerance).any() for values in seen)]


def _glances(height: int, width: int) -> Iterator[Window]:
    yield Window(0, 0, 1, width)
    yield Window(height - 1, 0, 1, width)
    for row in np.linspace(0, height - 1, min(GLANCES, height)).astype(int):
        yield Window(int(row), 0, 1, 1)
        yield Window(int(row), width - 1, 1, 1)
