"""Regions across cells: what the lines of the lattice cut is put together again, as soon as it is complete."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import shapely
from jaxtyping import Float64, Int64

from cropland.mapping.outlines import Traced, without_collinear
from cropland.mapping.regions import connected

__all__ = ["Regions", "join_cells"]


class Regions(NamedTuple):
    """Whole regions: polygons in (column, row), and the two sums of `Traced` over all their pixels."""

    polygons: np.ndarray
    sums: Float64[np.ndarray, "2 region"]


class _Open(NamedTuple):
    """What goes on below the row of cells: pieces, the region of each (from 1 on), sums, regions along the line."""

    pieces: np.ndarray
    region: Int64[np.ndarray, "piece"]
    sums: Float64[np.ndarray, "2 region"]
    line: list[Int64[np.ndarray, "pixel"]]


def join_cells(rows: Iterable[Sequence[Traced]]) -> Iterator[Regions]:
    """The regions that are complete with each row of cells, in an order that follows from the lattice alone.

    In memory are the pieces of one row of cells and of the regions that go on below it.
    """
    still = _Open(np.empty(0, object), np.zeros(0, np.int64), np.zeros((2, 0)), [])
    for row in rows:
        whole, still = _join_row(still, row)
        yield whole
    assert not len(still.pieces)  # below the raster there is no cropland


def _join_row(above: _Open, row: Sequence[Traced]) -> tuple[Regions, _Open]:
    counts = [above.sums.shape[1], *(len(traced.polygons) for traced in row)]
    *offsets, total = accumulate(counts)
    of = connected(total + 1, _links(above, row, offsets))  # 0: none, the regions above, the pieces of each cell
    pieces = np.concatenate([above.pieces, *(traced.polygons for traced in row)])
    region = of[np.concatenate([above.region, np.arange(counts[0] + 1, total + 1)])]
    sums = np.concatenate([above.sums, *(traced.sums for traced in row)], axis=1)
    sums = np.stack([np.bincount(of[1:], weights, minlength=of.max() + 1) for weights in sums])
    line = [of[_numbers(each.borders.bottom, offset)] for each, offset in zip(row, offsets, strict=True)]
    goes_on = np.zeros(sums.shape[1], bool)
    goes_on[np.concatenate(line)] = True
    goes_on[0] = False
    number = np.cumsum(goes_on) * goes_on
    waits = goes_on[region]
    still = _Open(pieces[waits], number[region[waits]], sums[:, goes_on], [number[each] for each in line])
    return Regions(_united(pieces[~waits], region[~waits]), sums[:, 1:][:, ~goes_on[1:]]), still


def _numbers(labels: np.ndarray, offset: int) -> Int64[np.ndarray, "pixel"]:
    return np.where(labels > 0, labels + np.int64(offset), 0)


def _links(above: _Open, row: Sequence[Traced], offsets: Sequence[int]) -> Int64[np.ndarray, "2 link"]:
    """Pairs of numbers of one region: a pixel on a line of the lattice is a pixel of both cells."""
    cells = list(zip(row, offsets, strict=True))
    pairs = [(_numbers(a.borders.right, i), _numbers(b.borders.left, j)) for (a, i), (b, j) in pairwise(cells)]
    if above.line:
        pairs += [(line, _numbers(each.borders.top, i)) for line, (each, i) in zip(above.line, cells, strict=True)]
    links = [np.unique(np.stack(pair), axis=1) for pair in pairs]
    return np.concatenate([np.zeros((2, 0), np.int64), *links], axis=1)


def _united(pieces: np.ndarray, region: Int64[np.ndarray, "piece"]) -> np.ndarray:
    """One polygon per region, in the order of the regions."""
    order = np.argsort(region, kind="stable")
    pieces, starts = pieces[order], np.flatnonzero(np.diff(region[order], prepend=-1))
    several = np.diff(starts, append=len(pieces)) > 1
    united = pieces[starts]
    if several.any():
        groups = np.split(pieces, starts[1:])
        joined = [shapely.coverage_union_all(groups[number]) for number in np.flatnonzero(several)]
        # Only a region that was cut can have got points on a straight line.
        _, points, (rings, polygons) = shapely.to_ragged_array(joined)
        united[several] = without_collinear(points, rings, polygons)
    return united
