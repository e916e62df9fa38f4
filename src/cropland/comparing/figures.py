"""What a map says of every polygon: cropland, unknown ground, probability, fields, change, disagreement, insurance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import shapely
from jaxtyping import Bool, Float64, Int64

from cropland.comparing.polygons import CROPLAND, OTHER, HeldPolygons
from cropland.evaluation.subject import NamedGrid, Subject
from cropland.geo.area import pixel_area_m2
from cropland.geo.coverage import in_pixels, sums_within
from cropland.geo.vectors import Polygons
from cropland.geo.window import Window, tiles
from cropland.probability import from_levels
from cropland.progress import megapixels, prefetch, progress_bar

__all__ = ["DISAGREES", "figures", "insurance", "pairs_within"]

TILE = 1024  # pixels along the edge of a tile in which polygons are clipped
STATES = 3  # not cropland, cropland, no data
NEIGHBOURS_M = 10.0  # between plots with a path or a ditch between them
ROUNDED = 5e-4  # of the ground, by which sums of pixels may differ from the area within the outline
DISAGREES = 0.5  # disagreement from which on more of a polygon is something else than what it says
HALF = 0.5  # of the smaller of a field and a polygon, which they must share
CLASS = np.full(256, 2, np.int64)  # of the values of a mask
CLASS[:2] = 0, 1


class _Work(NamedTuple):
    """The polygons that meet a tile."""

    window: Window
    numbers: Int64[np.ndarray, " polygon"]
    shapes: np.ndarray


def figures(held: HeldPolygons, last: Subject, *, earlier: Subject | None) -> pd.DataFrame:
    """The figures of every polygon, in the order of the layer.

    Columns: ground_ha, on the ellipsoid; cropland_ha and unknown_ha (no data, or outside of the map), exact at the
    edges of the polygon; cropland_share, of the ground with data; unknown_share, of all; mean_probability (0..1),
    missing without a probability; fields and mean_field_ha, the fields of the map that share at least half of the
    smaller one with the polygon, and their mean size within it; gain_ha and loss_ha, against the earlier map, with
    earlier_cropland_ha, or without one against what the polygon says; disagreement, 0..1, the mean probability of what
    the polygon does not say, times the share with data; rank, from 1, by it and then by size.
    """
    sums = _sums(held, last, earlier)
    area, levels = sums[:, 0].reshape(-1, STATES, STATES) / 1e4, sums[:, 1].sum(axis=1)
    now, ground = area.sum(axis=1), held.area_m2 / 1e4
    known = now[:, 0] + now[:, 1]
    table = pd.DataFrame({"ground_ha": ground, "cropland_ha": now[:, 1]})
    table["unknown_ha"] = np.where(ground - known > ROUNDED * ground, ground - known, 0.0)
    table["cropland_share"] = _ratio(now[:, 1], known)
    table["unknown_share"] = _ratio(table["unknown_ha"].to_numpy(), ground)
    if last.probability is not None:
        table["mean_probability"] = _ratio(levels / 1e4, known)
    if last.fields is not None:
        table = table.join(_fields(held, last.fields, last.ground))
    if earlier is None:
        table["gain_ha"] = np.where(held.coded == OTHER, now[:, 1], 0.0)
        table["loss_ha"] = np.where(held.coded == CROPLAND, now[:, 0], 0.0)
    else:
        table["earlier_cropland_ha"] = area[:, 1].sum(axis=1)
        table["gain_ha"], table["loss_ha"] = area[:, 0, 1], area[:, 1, 0]
    cropland = table["mean_probability" if last.probability is not None else "cropland_share"].to_numpy()
    against = np.select([held.coded == CROPLAND, held.coded == OTHER], [1 - cropland, cropland], np.nan)
    table["disagreement"] = against * (1 - table["unknown_share"].to_numpy())
    order = np.lexsort([-ground, -np.nan_to_num(table["disagreement"], nan=-1.0)])
    rank = np.empty(len(table), np.int64)
    rank[order] = np.arange(1, len(table) + 1)
    table["rank"] = pd.Series(rank, dtype="Int64").where(table["disagreement"].notna())
    return table


def _ratio(part: np.ndarray, whole: np.ndarray, *, most: float = 1.0) -> Float64[np.ndarray, " polygon"]:
    """Not a number where there is no whole; at most 1, where rounding would make it more."""
    ratio = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return np.asarray(np.minimum(ratio, most))


def _sums(
    held: HeldPolygons, last: Subject, earlier: Subject | None
) -> Float64[np.ndarray, "polygon weight earlier_and_last"]:
    """Square metres, and square metres times the probability, of each state before and now within polygons."""
    ground, total = last.ground, np.zeros((len(held), 2, STATES * STATES))

    def work() -> Iterator[_Work]:
        for tile in tiles(ground.shape, size=TILE, halo=0, stride=1):
            numbers = held.over(tile.core)
            yield _Work(tile.core, numbers, held.store.polygons(numbers))

    def measure(its: _Work) -> tuple[_Work, np.ndarray]:
        if not len(its.numbers):
            return its, np.zeros((0, 2, STATES * STATES))
        now = CLASS[last.mask(its.window)]
        before = np.zeros_like(now) if earlier is None else CLASS[earlier.mask(its.window)]
        area = pixel_area_m2(ground.grid, its.window, unit_m=ground.unit_m)
        levels = last.probability(its.window) if last.probability is not None else np.zeros(now.shape, np.uint8)
        likely = area * np.where(now < 2, np.nan_to_num(from_levels(levels)), 0)
        return its, sums_within(its.shapes, its.window, STATES * before + now, area, likely, count=STATES * STATES)

    with progress_bar(ground.name, total=ground.shape[0] * ground.shape[1], rate=megapixels) as bar:
        for its, sums in prefetch(measure, work(), threads=2, ahead=1):
            total[its.numbers] += sums
            bar(its.window.height * its.window.width)
    return total


def _fields(held: HeldPolygons, fields: Polygons, ground: NamedGrid) -> pd.DataFrame:
    """How many fields of the map each polygon has, and their mean size within it in hectares."""
    count, hectares = np.zeros(len(held), np.int64), np.zeros(len(held))
    for tile in tiles(ground.shape, size=TILE, halo=0, stride=1):
        row, col, height, width = tile.core
        near = fields.meeting(ground.grid[tile.core.slices].extent, allow_datum_shift=True)[0].geometry.to_numpy()
        shapes = in_pixels(near, ground.grid.affine)
        x, y = shapely.get_coordinates(shapely.point_on_surface(shapes)).T  # a field is of the tile that holds it
        ours = shapes[(x >= col) & (x < col + width) & (y >= row) & (y < row + height)]
        field, polygon, shared = pairs_within(ours, held)
        distinct, place = np.unique(polygon, return_inverse=True)
        smaller = np.minimum(shapely.area(ours)[field], shapely.area(held.store.polygons(distinct))[place])
        most = shared >= HALF * smaller
        middle = Window(row + height // 2, col + width // 2, 1, 1)
        pixel_ha = pixel_area_m2(ground.grid, middle, unit_m=ground.unit_m).item() / 1e4
        count += np.bincount(polygon[most], minlength=len(held))
        hectares += np.bincount(polygon[most], shared[most] * pixel_ha, minlength=len(held))
    return pd.DataFrame({"fields": count, "mean_field_ha": _ratio(hectares, count.astype(np.float64), most=np.inf)})


Pairs = tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"], Float64[np.ndarray, " pair"]]


def pairs_within(shapes: np.ndarray, held: HeldPolygons) -> Pairs:
    """Each shape and polygon that overlap: the place of the shape, the number of the polygon, and the area they share.

    shapes: in columns and rows. Those whose bounds begin in one tile are looked at together, with the polygons there.
    """
    tile = shapely.bounds(shapes).reshape(-1, 4)[:, :2] // TILE
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for each in np.unique(tile, axis=0):
        places = np.flatnonzero((tile == each).all(axis=1))
        shape, number, shared = _pairs_of(shapes[places], held)
        found.append((places[shape], number, shared))
    shape, number, shared = (np.concatenate(each) for each in zip(*found, strict=True))
    return shape, number, shared


def _pairs_of(shapes: np.ndarray, held: HeldPolygons) -> Pairs:
    numbers = held.near(shapely.total_bounds(shapes))
    polygons = held.store.polygons(numbers)
    shape, place = shapely.STRtree(polygons).query(shapes, predicate="intersects")
    shared = shapely.area(shapely.intersection(shapes[shape], polygons[place]))
    some = shared > 0
    return shape[some], numbers[place[some]], shared[some]


def insurance(held: HeldPolygons, table: pd.DataFrame, ground: NamedGrid) -> pd.DataFrame:
    """What insured areas come to, of every polygon.

    Columns: insured_ha; over_insured_ha, by how much they are more than the cropland and the unknown ground of the
    plot; insured_not_cropland_ha, those of plots of which more than half is known not to be cropland; and, where
    owners are known, uninsured_neighbour_ha, the cropland of a plot without insurance within 10 m of an insured plot of
    the same owner.
    """
    assert held.insured_ha is not None, "asked for where areas are insured alone"
    insured, cropland = held.insured_ha, table["cropland_ha"].to_numpy()
    found = pd.DataFrame({"insured_ha": insured})
    found["over_insured_ha"] = np.maximum(insured - cropland - table["unknown_ha"].to_numpy(), 0)
    other = table["ground_ha"] - table["unknown_ha"] - cropland
    found["insured_not_cropland_ha"] = np.where(other > HALF * table["ground_ha"], insured, 0.0)
    if (owners := held.keys.get(held.options.owner or "")) is not None:
        found["uninsured_neighbour_ha"] = np.where(_left_out(held, owners, ground), cropland, 0.0)
    return found


def _left_out(held: HeldPolygons, owners: pd.Categorical, ground: NamedGrid) -> Bool[np.ndarray, " polygon"]:
    """Polygons without insurance beside an insured one of the same owner; an empty owner is nobody."""
    assert held.insured_ha is not None, "asked for where areas are insured alone"
    known, owner = np.asarray(owners != ""), owners.codes
    insured, without = known & (held.insured_ha > 0), known & (held.insured_ha == 0)
    down_m, along_m = ground.pixel_sides_m
    reach, found = NEIGHBOURS_M / min(down_m, along_m), np.zeros(len(held), bool)

    def in_metres(numbers: Int64[np.ndarray, " polygon"]) -> np.ndarray:
        shapes: np.ndarray = shapely.transform(held.store.polygons(numbers), lambda at: at * (along_m, down_m))
        return shapes

    for tile in tiles(ground.shape, size=TILE, halo=0, stride=1):
        row, col, height, width = tile.core
        near = held.near((col - reach, row - reach, col + width + reach, row + height + reach))
        ours, theirs = near[without[near]], near[insured[near]]
        if len(ours) and len(theirs):
            tree = shapely.STRtree(in_metres(theirs))
            mine, other = tree.query(in_metres(ours), predicate="dwithin", distance=NEIGHBOURS_M)
            found[ours[mine[owner[ours[mine]] == owner[theirs[other]]]]] = True
    return found
