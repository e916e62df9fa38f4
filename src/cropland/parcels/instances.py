"""Fields as instances: where boundaries are known, fields of a mask that touch come apart.

Reading starts at `find_fields`. Nothing in it depends on the order of cells, and every decision that reaches beyond a
cell is made by connected components of the whole raster.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from jaxtyping import Bool, Float64, Int32, Int64, UInt8
from scipy import ndimage

from cropland.geo.area import pixel_area_m2
from cropland.geo.grid import grid_of
from cropland.geo.window import Tile, Window, tiles
from cropland.parcels.clean import EDGES, SLACK, connected, run_starts
from cropland.probability import NO_DATA, ONE

__all__ = ["GAP_M", "FieldRule", "find_fields"]

GAP_M = 6.0  # metres of a boundary that may be missing without uniting two fields
RIM = 8  # pixels: half of the widest line between fields that is shared out among them
Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


class FieldRule(NamedTuple):
    """What parts fields: levels of the boundary from `level` on (0..254), and gaps in it of up to 2 x `erosion` pixels.

    min_area_m2: on the ellipsoid; a field whose core is smaller is united with a neighbour.
    """

    level: int
    erosion: int
    min_area_m2: float

    @staticmethod
    def of(threshold: float, *, pixel_m: float, min_area_m2: float, gap_m: float = GAP_M) -> "FieldRule":
        """The rule for pixels of that size, from the probability of a boundary (0..1) and the width of a gap."""
        return FieldRule(max(1, ceil(threshold * ONE)), round(gap_m / pixel_m / 2), min_area_m2)

    @property
    def reach(self) -> int:
        """Pixels within which a field grows back: what erosion takes from a corner, and half of a line."""
        return 2 * self.erosion + RIM


def find_fields(
    mask: Path, boundary: Path, out: Path, *, rule: FieldRule, unit_m: float | None, cell: int, spread: Spread
) -> None:
    """Write the number of the field of each pixel (int32, from 1; 0 for what is not cropland) on the grid of the mask.

    The interior of fields is cropland whose boundary level is below the rule's. Lines are widened there, so that a
    gap in one joins no fields; what is connected then is the core of a field. Cores grow back to all cropland that is
    nearest to them. A part of the interior without a core, which is a field too narrow to keep one, is a field as it
    stands, and so is cropland further than the rule's reach from any interior. A field that grew from less than the
    least area, such as a sliver between two lines, is united with the neighbour along the longest and weakest line: the
    one with the largest sum of (254 - level). Thus every pixel of cropland lies in one field, every field is connected
    by edges, and a boundary of 0 everywhere gives the connected regions of the mask.

    mask: 0, 1, 255. boundary: uint8 on its grid, p x 254; 255 (no data) parts nothing. spread: a `map` over cells.
    In memory are the cells at work, and some 60 bytes for each piece of a field in a cell; at worst, where all pieces
    are too small, 500 while they are united.
    Source: erosion before labelling, and growth back, after Soille 2004, Morphological Image Analysis, chapter 9,
    doi:10.1007/978-3-662-05088-0.
    """
    seeds = out.with_name("seeds.tif")
    with rasterio.open(mask) as source:
        shape, like = source.shape, {name: source.profile[name] for name in ("height", "width", "crs", "transform")}
        layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "BIGTIFF": "IF_SAFER"}
        profile = {"driver": "GTiff", "dtype": "int32", "count": 1, **like, **layout}
    # A mask is read up to the row above; a nearest core lies within 2 x reach along rows and columns.
    one, two = (tiles(shape, size=cell, halo=halo, stride=1) for halo in (rule.reach + rule.erosion, 3 * rule.reach))
    seeded = spread(partial(_seed, mask, boundary, rule), one)
    _renumber(seeds, _fields_of_seeds(_written(seeds, profile, one, seeded)), one)
    grown = spread(partial(_grow, mask, boundary, seeds, unit_m), two)
    _renumber(out, _without_specks(_written(out, profile, two, grown), rule.min_area_m2), two)
    seeds.unlink()


class _Edges(NamedTuple):
    """What stands in the outermost pixels of a cell: numbers, and levels of the boundary."""

    top: Int32[np.ndarray, "2 pixel"]
    left: Int32[np.ndarray, "2 pixel"]
    bottom: Int32[np.ndarray, "2 pixel"]
    right: Int32[np.ndarray, "2 pixel"]


def _edges(numbers: Int32[np.ndarray, "height width"], levels: UInt8[np.ndarray, "height width"]) -> _Edges:
    lines = (np.s_[0], np.s_[:, 0], np.s_[-1], np.s_[:, -1])
    return _Edges(*(np.stack([numbers[line], levels[line]]) for line in lines))


class _Seeded(NamedTuple):
    """The seeds of a cell: numbers from 1, and for each its kind and the part of the interior that it lies in, or 0."""

    numbers: Int32[np.ndarray, "height width"]
    edges: _Edges
    kind: UInt8[np.ndarray, "seed"]
    part: Int64[np.ndarray, "seed"]


CORE, THIN, RIMS, NEAR = range(4)


def _seed(mask: Path, boundary: Path, rule: FieldRule, tile: Tile) -> _Seeded:
    """Label cores, what of the interior or of lines lies too far to grow back, and the interior near to cores."""
    cropland, levels = _read(mask, tile.padded) == 1, _levels(boundary, tile.padded)
    below = levels < rule.level
    interior = cropland & below
    # Lines alone are widened: cropland that is narrow, with nothing drawn across it, stays one field.
    core = cropland & ndimage.minimum_filter(below, 2 * rule.erosion + 1, mode="constant", cval=1)
    thin = interior & ~_dilated(core, rule.reach)
    rims = cropland & ~interior & ~_dilated(interior, rule.reach)
    own = tile.inner.slices
    part, parts = ndimage.label(interior[own], EDGES, output=np.int32)
    numbers, kinds, of = np.zeros(tile.core.shape, np.int32), [np.zeros(0, np.uint8)], [np.zeros(0, np.int64)]
    count = 0
    for kind, member in ((CORE, core[own]), (THIN, thin[own]), (RIMS, rims[own])):
        label, some = ndimage.label(member, EDGES, output=np.int32)
        numbers[member] = label[member] + count
        lies_in = np.zeros(some + 1, np.int64)
        lies_in[label[member]] = part[member]
        kinds.append(np.full(some, kind, np.uint8))
        of.append(lies_in[1:])
        count += some
    near = (numbers == 0) & interior[own]
    numbers[near] = part[near] + count
    kinds.append(np.full(parts, NEAR, np.uint8))
    of.append(np.arange(1, parts + 1))
    return _Seeded(numbers, _edges(numbers, levels[own]), np.concatenate(kinds), np.concatenate(of))


def _dilated(inside: Bool[np.ndarray, "height width"], reach: int) -> Bool[np.ndarray, "height width"]:
    wider: np.ndarray = ndimage.maximum_filter(inside, 2 * reach + 1, mode="constant", cval=0)
    return wider


def _fields_of_seeds(cells: Iterable[tuple[Tile, _Seeded, _Edges]]) -> Int32[np.ndarray, "seed"]:
    """The field of each seed of the raster, 0 for interior near to cores, which grows from them."""
    kinds, parts, pairs, before = [np.zeros(1, np.uint8)], [np.zeros(1, np.int64)], [], 0

    def kept() -> Iterator[tuple[Tile, _Edges]]:
        nonlocal before
        for tile, seeded, edges in cells:
            kinds.append(seeded.kind)
            parts.append(np.where(seeded.part > 0, seeded.part + before, 0))
            before += int(seeded.part.max(initial=0))
            yield tile, edges

    pairs = [_distinct(one[0], other[0]) for one, other in _across(kept())]
    kind, part = np.concatenate(kinds), np.concatenate(parts)
    touching = np.concatenate([np.zeros((2, 0), np.int64), *pairs], axis=1)
    inside = part[touching]
    whole = connected(before + 1, inside[:, (inside > 0).all(axis=0)])[part]
    has_core = np.zeros(whole.max() + 1, bool)
    has_core[whole[kind == CORE]] = True
    has_core[whole[0]] = True  # no part of the interior
    grows, count = has_core[whole], len(kind)
    links = touching[:, (kind[touching[0]] == kind[touching[1]]) & grows[touching].all(axis=0)]
    alone = np.flatnonzero(~grows)
    links = np.concatenate([links, np.stack([alone, count + whole[alone]])], axis=1)
    field = connected(count + int(whole.max()) + 1, links)[:count].astype(np.int32)  # the first is that of 0: none
    field[grows & (kind == NEAR)] = 0
    return field


class _Grown(NamedTuple):
    """The pieces of fields in a cell: numbers from 1, and for each the field of its seeds and the area of these.

    beside: pairs of pieces that share edges; openness: the sum of (254 - level) along them.
    """

    numbers: Int32[np.ndarray, "height width"]
    edges: _Edges
    field: Int32[np.ndarray, "piece"]
    area_m2: Float64[np.ndarray, "piece"]
    beside: Int64[np.ndarray, "2 pair"]
    openness: Float64[np.ndarray, "pair"]


def _grow(mask: Path, boundary: Path, seeds: Path, unit_m: float | None, tile: Tile) -> _Grown:
    """Give each pixel of cropland to the nearest seed, and number what is connected of each field."""
    own, field = tile.inner.slices, _read(seeds, tile.padded)
    is_seed = field[own] > 0
    levels = _levels(boundary, tile.core)
    with rasterio.open(mask) as source:
        cropland, grid = source.read(1, window=tile.core.in_file) == 1, grid_of(source)
    if field.any():
        # By rows, columns and diagonals: a line to share out is narrow, and this takes half as long as to be exact.
        nearest = ndimage.distance_transform_cdt(field == 0, return_distances=False, return_indices=True)
        field = field[tuple(axis[own] for axis in nearest)]
    else:
        field = field[own]
    field = np.where(cropland, field, 0)
    numbers, of_field = _pieces(field)
    area_m2 = pixel_area_m2(grid, tile.core, unit_m=unit_m)
    area = np.bincount(numbers.ravel(), (area_m2 * is_seed).ravel(), minlength=len(of_field) + 1)[1:]
    pairs, openness = _opennesses(
        [
            (numbers[one], numbers[other], np.maximum(levels[one], levels[other]))
            for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:]))
        ]
    )
    return _Grown(numbers, _edges(numbers, levels), of_field, area, pairs, openness)


def _pieces(
    field: Int32[np.ndarray, "height width"],
) -> tuple[Int32[np.ndarray, "height width"], Int32[np.ndarray, "piece"]]:
    """What is connected by edges of each value but 0, numbered from 1, and its value."""
    starts = run_starts(field)
    value = field.ravel()[starts]
    run = np.repeat(np.arange(len(starts)), np.diff(starts, append=field.size)).reshape(field.shape)
    # Runs that lie on one another meet in the column where the later of them begins.
    begins = np.zeros(field.shape, bool)
    begins.ravel()[starts] = True
    meet = (field[1:] == field[:-1]) & (begins[1:] | begins[:-1]) & (field[1:] > 0)
    number = connected(len(starts), np.stack([run[:-1][meet], run[1:][meet]]))
    some = np.unique(number[value > 0])
    compact = np.zeros(len(starts), np.int32)
    compact[some] = np.arange(1, len(some) + 1)
    piece = np.where(value > 0, compact[number], 0).astype(np.int32)
    values = np.zeros(len(some) + 1, np.int32)
    values[piece] = value
    return piece[run], values[1:]


def _opennesses(
    triples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> tuple[Int64[np.ndarray, "2 pair"], Float64[np.ndarray, "pair"]]:
    """Pairs of numbers that share edges of pixels and their sums of (254 - level), of numbers and a level per edge."""
    differ = [(one != other) & (one > 0) & (other > 0) for one, other, _ in triples]
    met = ([values[at] for values in triple] for triple, at in zip(triples, differ, strict=True))
    one, other, level = np.concatenate([np.stack(each) for each in met], axis=1).astype(np.int64)
    size = max(one.max(initial=0), other.max(initial=0)) + 1
    pair, edge = np.unique(np.minimum(one, other) * size + np.maximum(one, other), return_inverse=True)
    return np.stack(np.divmod(pair, size)), np.bincount(edge, ONE - level, minlength=len(pair))


def _without_specks(cells: Iterable[tuple[Tile, _Grown, _Edges]], min_area_m2: float) -> Int32[np.ndarray, "piece"]:
    """The field of each piece of the raster, from 1; fields of too small a core are united with a neighbour."""
    fields, areas, beside, opens, before = [np.zeros(1, np.int32)], [np.zeros(1)], [], [], 1

    def kept() -> Iterator[tuple[Tile, _Edges]]:
        nonlocal before
        for tile, grown, edges in cells:
            fields.append(grown.field)
            areas.append(grown.area_m2)
            beside.append(grown.beside + (before - 1))
            opens.append(grown.openness)
            before += len(grown.field)
            yield tile, edges

    links = [np.zeros((2, 0), np.int64)]
    for one, other in _across(kept()):
        pairs, openness = _opennesses([(one[0], other[0], np.maximum(one[1], other[1]))])
        beside.append(pairs)
        opens.append(openness)
        links.append(pairs)
    field, area = np.concatenate(fields), np.concatenate(areas)
    across = np.concatenate(links, axis=1)
    number = connected(before, across[:, field[across[0]] == field[across[1]]])
    pair, openness = np.concatenate([links[0], *beside], axis=1), np.concatenate([np.zeros(0), *opens])
    while True:
        one, other = number[pair]
        is_small = np.bincount(number, area) < min_area_m2 * (1 - SLACK)
        chosen = (one != other) & (is_small[one] | is_small[other])
        if not chosen.any():
            return number.astype(np.int32)
        pair, openness = pair[:, one != other], openness[one != other]
        small, neighbour = np.concatenate([number[pair], number[pair[::-1]]], axis=1).astype(np.int64)
        known, size = is_small[small], int(number.max()) + 1
        line, edge = np.unique(small[known] * size + neighbour[known], return_inverse=True)
        open_sum = np.bincount(edge, np.tile(openness, 2)[known])
        small, neighbour = np.divmod(line, size)
        # The first of each small field: its most open line, then the lower number.
        order = np.lexsort((neighbour, -open_sum, small))
        first = order[np.flatnonzero(np.diff(small[order], prepend=-1))]
        number = connected(size, np.stack([small[first], neighbour[first]]))[number]


def _written(
    out: Path, profile: dict[str, Any], cells: Sequence[Tile], made: Iterable[Any]
) -> Iterator[tuple[Tile, Any, _Edges]]:
    """Each cell after its numbers, counted on through the raster, were written; and its edges in these numbers."""
    before = 0
    with rasterio.open(out, "w", **profile) as target:
        for tile, cell in zip(cells, made, strict=True):
            on = np.int32(before)
            target.write(np.where(cell.numbers > 0, cell.numbers + on, 0), 1, window=tile.core.in_file)
            edges = (np.stack([np.where(edge[0] > 0, edge[0] + on, 0), edge[1]]) for edge in cell.edges)
            before += len(cell[2])
            yield tile, cell, _Edges(*edges)


def _renumber(path: Path, becomes: Int32[np.ndarray, "number"], cells: Iterable[Tile]) -> None:
    with rasterio.open(path, "r+") as target:
        for tile in cells:
            place = tile.core.in_file
            target.write(becomes[target.read(1, window=place)], 1, window=place)


def _across(cells: Iterable[tuple[Tile, _Edges]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pixels on both sides of each line between two cells, once the second of them is known."""
    above: dict[int, np.ndarray] = {}
    before: np.ndarray | None = None
    for tile, edges in cells:
        if tile.core.row > 0:
            yield above[tile.core.col], edges.top
        if tile.core.col > 0 and before is not None:
            yield before, edges.left
        above[tile.core.col], before = edges.bottom, edges.right


def _distinct(one: Int32[np.ndarray, "pixel"], other: Int32[np.ndarray, "pixel"]) -> Int64[np.ndarray, "2 pair"]:
    pairs: np.ndarray = np.unique(np.stack([one, other])[:, (one > 0) & (other > 0)], axis=1)
    return pairs.astype(np.int64)


def _read(path: Path, window: Window) -> np.ndarray:
    with rasterio.open(path) as source:
        values: np.ndarray = source.read(1, window=window.in_file)
    return values


def _levels(boundary: Path, window: Window) -> UInt8[np.ndarray, "height width"]:
    """Levels of the boundary, 0 where it has no data."""
    levels = _read(boundary, window)
    levels[levels == NO_DATA] = 0
    return levels
