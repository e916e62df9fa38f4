"""Outlines of the regions of a mask, cell by cell: polygons without the staircase of pixels, in pixel coordinates."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import shapely
from contourpy import contour_generator
from jaxtyping import Bool, Float64, Int32, Int64
from rasterio.features import shapes
from rasterio.io import DatasetReader
from scipy import ndimage

from cropland.geo.window import Window
from cropland.parcels.clean import EDGES, connected, run_starts
from cropland.probability import NO_DATA

__all__ = ["Regions", "Traced", "join_cells", "trace_cell", "trace_fields"]


class _CellLines(NamedTuple):
    """The pieces (1 for the first, 0 for none) of the pixels along the lines of the lattice around a cell."""

    top: Int32[np.ndarray, "pixel"]
    left: Int32[np.ndarray, "pixel"]
    bottom: Int32[np.ndarray, "pixel"]
    right: Int32[np.ndarray, "pixel"]


class Traced(NamedTuple):
    """The pieces of regions in one cell: polygons in (column, row), and two sums over the cell's own pixels of each.

    The sums are the number of pixels that have a probability, and the sum of these probabilities (0..254).
    """

    polygons: np.ndarray
    sums: Float64[np.ndarray, "2 piece"]
    borders: _CellLines


def trace_cell(mask: Path, probability: Path | None, own: Window, *, tolerance: float) -> Traced:
    """Outline the cropland (1) of one cell of the lattice, independently of other cells.

    The lines of the lattice run through the centres of pixels: the last row and column before the cell's `own` pixels,
    and the last of these. The pixels on a line are thus seen by the cells on both sides. Outlines run through the
    middles of the pixel edges, where a staircase is a straight line and regions that touch at corners are separate
    (marching squares; Lorensen and Cline 1987, doi:10.1145/37402.37422); a region loses half a pixel of area by that.
    Such an outline crosses a line of the lattice only in the middle between two pixels, and never runs along it.

    These crossings and the frame of the cell are kept. All outlines between them are simplified together, so that none
    crosses itself or another: points are removed that span a triangle of less than `tolerance` squared, in pixels
    (Visvalingam and Whyatt 1993, doi:10.1179/000870493786962263).
    """
    with rasterio.open(mask) as source:
        inside = _framed(source, own) == 1
    labels, count = ndimage.label(inside, EDGES, output=np.int32)
    own_labels = labels[1 : own.height + 1, 1 : own.width + 1]
    sums = np.zeros((2, count)) if probability is None else _sums(probability, own, own_labels, count)
    borders = _CellLines(labels[0], labels[:, 0], labels[-1], labels[:, -1])
    # Copies: views would keep the whole cell.
    return Traced(_pieces(inside, labels, own, tolerance), sums, _CellLines(*(line.copy() for line in borders)))


def trace_fields(fields: Path, probability: Path | None, own: Window, *, tolerance: float) -> Traced:
    """Outline the fields (numbers from 1, 0 for none) of one cell of the lattice, independently of other cells.

    As in `trace_cell`, outlines run through the middles of pixel edges, and the lines of the lattice through centres.
    Outlines also run through the corners at which three or four of them meet, so that neighbours share their edges
    exactly. At the edge of the cropland such a corner is drawn to where the outline of all cropland passes: the union
    of the fields is, before simplification, what `trace_cell` outlines, and at most half a pixel more wherever cropland
    meets cropland at a corner alone.
    """
    with rasterio.open(fields) as source:
        field = _framed(source, own)
    starts = run_starts(field)
    numbers, local = np.unique(field.ravel()[starts], return_inverse=True)
    local = local.astype(np.int32) + np.int32(numbers[0] > 0)
    labels = np.repeat(local, np.diff(starts, append=field.size)).reshape(field.shape)
    count = int(labels.max())
    sums = np.zeros((2, count))
    if probability is not None:
        sums = _sums(probability, own, labels[1 : own.height + 1, 1 : own.width + 1], count)
    borders = _CellLines(labels[0], labels[:, 0], labels[-1], labels[:, -1])
    polygons = _coverage(labels, count, own, tolerance) if count else np.empty(0, object)
    return Traced(polygons, sums, _CellLines(*(line.copy() for line in borders)))


def _coverage(labels: Int32[np.ndarray, "height width"], count: int, own: Window, tolerance: float) -> np.ndarray:
    """The polygons of labels 1, 2, ... in the coordinates of the raster; of several parts where the cell cuts one."""
    traced = [(shape["coordinates"], int(label)) for shape, label in shapes(labels, connectivity=4)]
    label = np.array([each for _, each in traced])
    rings = [np.array(ring) for polygon, _ in traced for ring in polygon]
    of = np.repeat(np.arange(len(traced)), [len(polygon) for polygon, _ in traced])
    points, ends = _through_middles(rings, labels)
    first = np.flatnonzero(np.diff(of, prepend=-1))
    starts = np.append(first, len(rings))
    polygons = _without_collinear(points, np.concatenate([[0], ends]), starts, centre=0.5)
    if tolerance > 0:
        polygons = shapely.coverage_simplify(polygons, tolerance, simplify_boundary=False)
    cropland = label > 0
    order = np.argsort(label[cropland], kind="stable")
    polygons, label = polygons[cropland][order], label[cropland][order]
    starts = np.searchsorted(label, np.arange(1, count + 1))
    whole = polygons[starts]
    for number in np.flatnonzero(np.diff(starts, append=len(label)) > 1):
        whole[number] = shapely.multipolygons(polygons[label == number + 1])
    moved: np.ndarray = shapely.transform(whole, lambda points: points + np.array([own.col, own.row]) - 1)
    return moved


def _through_middles(
    rings: Sequence[Float64[np.ndarray, "corner 2"]], labels: Int32[np.ndarray, "height width"]
) -> tuple[Float64[np.ndarray, "point 2"], Int64[np.ndarray, "ring"]]:
    """Closed rings along pixel edges, led through the middles of these and the corners where outlines meet; their ends.

    The frame is drawn in to the centres of its pixels.
    """
    lengths = np.array([len(ring) for ring in rings])
    corners = np.concatenate(rings)
    steps = np.diff(corners, axis=0)
    steps[np.cumsum(lengths)[:-1] - 1] = 0  # from one ring to the next
    units = np.abs(steps).sum(axis=1).astype(np.int64)
    edge = np.repeat(np.arange(len(units)), units)
    along = np.arange(len(edge)) - np.repeat(np.cumsum(units) - units, units)
    direction = np.sign(steps[edge])
    start = corners[edge] + along[:, None] * direction
    meets, drawn = _meetings(labels)
    at = tuple(start.astype(np.int64).T[::-1])
    is_met = meets[at]
    points = np.stack([start + drawn[(slice(None), *at)].T, start + direction / 2], axis=1)
    kept = np.stack([is_met, np.ones(len(start), bool)], axis=1)
    ring = np.repeat(np.arange(len(rings)), lengths)[:-1][edge]
    sizes = np.bincount(ring, kept.sum(axis=1), minlength=len(rings)).astype(np.int64)
    height, width = labels.shape
    flat = np.clip(points[kept], 0.5, [width - 0.5, height - 0.5])
    ends = np.cumsum(sizes)
    # Each ring is closed by its first point.
    closed = np.insert(flat, ends, flat[ends - sizes], axis=0)
    return _without_repeated(closed, ends + np.arange(1, len(ends) + 1))


def _without_repeated(
    points: Float64[np.ndarray, "point 2"], ends: Int64[np.ndarray, "ring"]
) -> tuple[Float64[np.ndarray, "point 2"], Int64[np.ndarray, "ring"]]:
    """Rings without points that are equal to the one before them, which drawing in the frame makes."""
    kept = np.ones(len(points), bool)
    kept[1:] = (points[1:] != points[:-1]).any(axis=1)
    kept[ends[:-1]] = True  # the first of the next ring
    return points[kept], np.cumsum(kept)[ends - 1]


def _meetings(
    labels: Int32[np.ndarray, "height width"],
) -> tuple[Bool[np.ndarray, "row column"], Float64[np.ndarray, "2 row column"]]:
    """At which corners of pixels outlines meet, and how far (column, row) each is drawn out of the corner."""
    framed = np.pad(labels, 1, constant_values=-1)
    upper, lower = framed[:-1], framed[1:]
    a, b, c, d = upper[:, :-1], upper[:, 1:], lower[:, :-1], lower[:, 1:]
    turns = (a != b).astype(np.int8) + (b != d) + (d != c) + (c != a)
    meets = turns > 2
    drawn = np.zeros((2, *meets.shape))
    rows, columns = np.nonzero(meets)
    around = np.stack([each[rows, columns] for each in (a, b, c, d)])
    one = (around == 0).sum(axis=0) == 1
    place = np.argmax(around == 0, axis=0)
    drawn[0, rows[one], columns[one]] = np.where(place % 2, 0.25, -0.25)[one]
    drawn[1, rows[one], columns[one]] = np.where(place // 2, 0.25, -0.25)[one]
    return meets, drawn


def _framed(source: DatasetReader, own: Window) -> np.ndarray:
    """A cell with the row above and the column before it; pixels outside the raster are 0."""
    row, col = max(0, own.row - 1), max(0, own.col - 1)
    bottom, right = own.row + own.height, own.col + own.width
    height, width = source.shape
    framed = np.zeros((own.height + 1 + (bottom == height), own.width + 1 + (right == width)), source.dtypes[0])
    values = source.read(1, window=Window(row, col, bottom - row, right - col).in_file)
    framed[row - own.row + 1 : own.height + 1, col - own.col + 1 : own.width + 1] = values
    return framed


def _sums(
    probability: Path, own: Window, labels: Int32[np.ndarray, "height width"], count: int
) -> Float64[np.ndarray, "2 piece"]:
    with rasterio.open(probability) as source:
        levels = source.read(1, window=own.in_file)
    starts = run_starts(labels)
    label, known = labels.ravel()[starts], (levels != NO_DATA)
    runs = (np.add.reduceat(values.ravel(), starts, dtype=np.int64) for values in (known, levels * known))
    return np.stack([np.bincount(label, run, minlength=count + 1)[1:] for run in runs])


def _pieces(
    inside: Bool[np.ndarray, "height width"], labels: Int32[np.ndarray, "height width"], own: Window, tolerance: float
) -> np.ndarray:
    """The polygons of labels 1, 2, ... in the coordinates of the raster."""
    if not inside.any():
        return np.empty(0, object)
    # Where four pixels meet and two opposite ones are cropland, 0 is not above the level of 0: these two are separate.
    column, row = _centres(inside.shape)
    contours = contour_generator(x=column, y=row, z=inside - 0.5, fill_type="ChunkCombinedOffsetOffset")
    cropland, other = _polygons(contours.filled(0, 1)), _polygons(contours.filled(-1, 0))
    if tolerance > 0:
        together = shapely.coverage_simplify(np.concatenate([cropland, other]), tolerance, simplify_boundary=False)
        cropland = together[: len(cropland)]
    some = shapely.get_coordinates(shapely.get_point(shapely.get_exterior_ring(cropland), 0))
    # Points between two pixels, one of which is of the piece, or the centre of a pixel that is.
    low, high = (labels[tuple(to(some).astype(int).T[::-1])] for to in (np.floor, np.ceil))
    shift = np.array([own.col, own.row]) - 0.5
    moved: np.ndarray = shapely.transform(cropland[np.argsort(np.maximum(low, high))], lambda points: points + shift)
    return moved


def _polygons(filled: Any) -> np.ndarray:
    """The polygons of a filled contour of contourpy, which is one chunk."""
    (points,), (rings,), (polygons,) = filled
    if points is None:
        return np.empty(0, object)
    return _without_collinear(points, rings.astype(np.int64), polygons.astype(np.int64), centre=0.0)


@lru_cache(maxsize=4)
def _centres(shape: tuple[int, int]) -> list[Float64[np.ndarray, "height width"]]:
    """The column and the row of each pixel, for contours; cached, since most cells are of one size."""
    height, width = shape
    return list(np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)))


class Regions(NamedTuple):
    """Whole regions: polygons in (column, row), and the two sums of `Traced` over all their pixels."""

    polygons: np.ndarray
    sums: Float64[np.ndarray, "2 region"]


class _Open(NamedTuple):
    """Regions that go on below the row of cells: pieces, the region of each (from 1), sums, regions along the line."""

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
        united[several] = _without_collinear(points, rings, polygons, centre=0.5)
    return united


def _without_collinear(
    points: Float64[np.ndarray, "point 2"],
    rings: Int64[np.ndarray, "ring"],
    polygons: Int64[np.ndarray, "polygon"],
    *,
    centre: float,
) -> np.ndarray:
    """Polygons of closed rings without points on a straight line; offsets as in `shapely.to_ragged_array`.

    Exact for coordinates that are multiples of a quarter. centre: the fraction of the coordinates of centres of pixels.
    All points but those where several outlines meet lie on a row or a column of centres; these stay, since they are
    points of a neighbour.
    """
    first, last = rings[:-1], rings[1:] - 1
    following, preceding = np.arange(len(points)) + 1, np.arange(len(points)) - 1
    following[last], preceding[first] = first + 1, last - 1
    into, out_of = points - points[preceding], points[following] - points
    kept = into[:, 0] * out_of[:, 1] != into[:, 1] * out_of[:, 0]
    kept |= (points % 1 != centre).all(axis=1)
    kept[last] = False  # the first again; shapely closes rings
    ring = np.repeat(np.arange(len(first)), np.diff(rings))[kept]
    lines = shapely.linearrings(points[kept], indices=ring)
    outlines: np.ndarray = shapely.polygons(lines, indices=np.repeat(np.arange(len(polygons) - 1), np.diff(polygons)))
    return outlines
