"""Two sets of field polygons, compared field by field.

    overlaps(predicted, reference, ...)   the areas on which they meet, summed over cells; then geometry is not needed
    match(overlaps)                       one field to at most one of the other side, and the errors of each field
    count_fields(matches, ...)            sums over fields by a key, such as a block or a size class; add them to pool
    field_figures(counts)                 precision, recall, F1, over- and under-segmentation, shift, missed, false

Areas, centroids and shares are those on known ground. Shares of areas are rounded to nine digits, so that the rounding
of coordinates does not decide which of two equal fields is chosen, or whether half of a field is reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
import shapely
from geopandas import GeoDataFrame, GeoSeries
from jaxtyping import Bool, Float64, Int64
from odc.geo import geom
from pyproj import CRS
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from cropland.evaluation.counts import ratio
from cropland.geo.area import MU_PER_HA, ellipsoidal_area_m2, ellipsoidal_length_m
from cropland.geo.features import Bounds
from cropland.geo.vectors import Notes, Polygons, only_areas, united
from cropland.language import Message
from cropland.progress import prefetch

__all__ = [
    "SIZE_EDGES_HA",
    "THRESHOLDS",
    "FieldCounts",
    "FieldOverlaps",
    "FieldTable",
    "MatchedSide",
    "Matches",
    "Unknown",
    "block_keys",
    "count_fields",
    "field_figures",
    "field_rates",
    "lattice",
    "match",
    "overlaps",
    "size_classes",
    "size_keys",
    "size_names",
    "value_names",
]

THRESHOLDS = tuple(float(percent) / 100 for percent in range(50, 100, 5))  # of the IoU; COCO's, Lin et al. 2014
SIZE_EDGES_HA = (0.64, 2.56, 16.0, 100.0)  # Fritz et al. 2015, doi:10.1111/gcb.12838; Lesiv et al. 2019, gcb.14492
SIDES = ("predicted", "reference")
Unknown = Callable[[Bounds], shapely.Polygon | shapely.MultiPolygon | None]
Geometries = np.ndarray  # of shapely geometries


@dataclass(frozen=True, eq=False)
class FieldTable:
    """The fields of one side that have an area in the cells, a row each, by rising number.

    number: in its `Polygons`. area_m2: of the whole field, on the ellipsoid. area: of the whole field, known: of its
    part on known ground in the cells, covered: of what fields of the other side cover of that, in squared units of the
    CRS. Ground that two fields cover counts once, wherever it decides whether half of the field is covered. centroid:
    of the known part, in units of the CRS; nan if there is none. value: the name of that in the column that was asked
    for, else "".
    """

    number: Int64[np.ndarray, " field"]
    area_m2: Float64[np.ndarray, " field"]
    area: Float64[np.ndarray, " field"]
    known: Float64[np.ndarray, " field"]
    covered: Float64[np.ndarray, " field"]
    centroid: Float64[np.ndarray, "field 2"]
    value: np.ndarray

    def __len__(self) -> int:
        return len(self.number)


@dataclass(frozen=True, eq=False)
class FieldOverlaps:
    """Where two sets of fields meet: the rows of both, and the area on known ground in squared units of the CRS.

    Pairs are sorted by the row of the predicted field, then by that of the reference field.
    """

    crs: CRS | None
    unit_m: float | None
    predicted: FieldTable
    reference: FieldTable
    pair: Int64[np.ndarray, "pair 2"]
    area: Float64[np.ndarray, " pair"]
    notes: Notes


def lattice(extent: Bounds, *, size: float) -> list[Bounds]:
    """Square cells that cover an extent, cut off at its edge, row by row; size in units of the extent."""
    west, south, east, north = extent
    across, up = (
        [*(first + size * np.arange(max(1, ceil((last - first) / size)))), last]
        for first, last in ((west, east), (south, north))
    )
    return [(left, low, right, high) for low, high in pairwise(up) for left, right in pairwise(across)]


def overlaps(
    predicted: Polygons,
    reference: Polygons,
    *,
    crs: CRS | str | int | None,
    cells: Iterable[Bounds],
    unknown: Unknown | None = None,
    column: str | None = None,
    allow_datum_shift: bool = False,
    threads: int = 1,
    unit_m: float | None = None,
) -> FieldOverlaps:
    """The areas on which predicted and reference fields meet, summed over cells.

    cells: at least one box in the CRS; they do not overlap, and ground outside them is unknown. unknown: the unknown
    ground in a cell as a valid polygon or multipolygon; so many threads call it at once. column: of the reference,
    whose values its fields keep as text. Fields of one side may overlap each other. In memory are the polygons of as
    many cells as there are threads, and some hundred bytes for each field and for each pair. The result is the same for
    any cells and any number of threads, to rounding. unit_m: metres per unit of the coordinates, without a CRS.
    Raises `GridError` where polygons cannot be placed in the CRS, as `Polygons.meeting` does.
    """

    def compare(cell: Bounds) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, Notes]:
        extent, hidden = geom.box(*cell, crs), unknown(cell) if unknown else None
        (ours, our_notes), (theirs, their_notes) = (
            side.meeting(extent, allow_datum_shift=allow_datum_shift) for side in (predicted, reference)
        )
        one, our_parts = _known_parts(ours, extent.geom, hidden, column=None, unit_m=unit_m)
        other, their_parts = _known_parts(theirs, extent.geom, hidden, column=column, unit_m=unit_m)
        i, j = shapely.STRtree(their_parts).query(our_parts, predicate="intersects")
        pieces = only_areas(shapely.intersection(our_parts[i], their_parts[j]))
        area = shapely.area(pieces)
        meets = area > 0
        i, j, pieces, area = i[meets], j[meets], pieces[meets], area[meets]
        one["covered"], other["covered"] = _covered(one, i, pieces, area), _covered(other, j, pieces, area)
        pairs = {"predicted": one["number"].to_numpy()[i], "reference": other["number"].to_numpy()[j], "area": area}
        return one, other, pd.DataFrame(pairs), (*our_notes, *their_notes)

    ours, theirs, met, notes = zip(*prefetch(compare, cells, threads=threads), strict=True)
    one, other = _summed(ours), _summed(theirs)
    pairs = pd.concat(met).groupby(["predicted", "reference"], as_index=False)["area"].sum()
    rows = (np.searchsorted(side.number, pairs[name]) for name, side in (("predicted", one), ("reference", other)))
    return FieldOverlaps(
        crs=None if crs is None else CRS.from_user_input(crs),
        unit_m=unit_m,
        predicted=one,
        reference=other,
        pair=np.stack([*rows], axis=1),
        area=pairs["area"].to_numpy(),
        notes=tuple(dict.fromkeys(note for some in notes for note in some)),
    )


def value_names(column: pd.Series) -> np.ndarray:
    """The values of a column as text, "" for none; a whole number is the same with and without a missing one beside
    it."""

    def name(value: object) -> str:
        return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)

    return np.array(
        ["" if missing else name(value) for value, missing in zip(column, column.isna(), strict=True)], object
    )


def _known_parts(
    frame: GeoDataFrame,
    cell: shapely.Polygon,
    hidden: shapely.Geometry | None,
    *,
    column: str | None,
    unit_m: float | None,
) -> tuple[pd.DataFrame, Geometries]:
    """The fields that have an area in a cell, and the part of each on known ground there."""
    shapes = frame.geometry.to_numpy()
    broken = ~shapely.is_valid(shapes)  # what is valid in one CRS may not be in another
    shapes[broken] = only_areas(shapely.make_valid(shapes[broken]))
    bounds, (west, south, east, north) = shapely.bounds(shapes), cell.bounds
    crosses = (bounds[:, :2] < (west, south)).any(axis=1) | (bounds[:, 2:] > (east, north)).any(axis=1)
    parts = shapes.copy()
    parts[crosses] = only_areas(shapely.intersection(shapes[crosses], cell))
    here = shapely.area(parts) > 0
    numbers, shapes, parts, crosses = frame.index.to_numpy()[here], shapes[here], parts[here], crosses[here]
    if hidden is not None:
        # Unknown ground may be one shape of many parts: a field is cut by those that it meets, not by all.
        grounds = shapely.get_parts(hidden)
        row, ground = shapely.STRtree(grounds).query(parts, predicate="intersects")
        met, of = np.unique(row, return_inverse=True)
        parts[met] = shapely.difference(parts[met], shapely.multipolygons(grounds[ground], indices=of))
    known = shapely.area(parts)
    x, y = np.nan_to_num(shapely.bounds(shapely.centroid(parts))[:, :2]).T  # nothing known, no centroid
    table = {
        "number": numbers,
        "area_m2": ellipsoidal_area_m2(GeoSeries(shapes, crs=frame.crs), unit_m=unit_m),
        "area": shapely.area(shapes),
        "known": known,
        "x": known * x,
        "y": known * y,
        "value": value_names(frame[column])[here] if column else np.full(len(numbers), "", object),
        "crosses": crosses,
    }
    return pd.DataFrame(table), parts


def _covered(
    table: pd.DataFrame, row: Int64[np.ndarray, " pair"], pieces: Geometries, area: Float64[np.ndarray, " pair"]
) -> Float64[np.ndarray, " field"]:
    """The area of each field that fields of the other side cover: `pieces` lie on the field in that row."""
    covered, largest = np.bincount(row, area, minlength=len(table)), np.zeros(len(table))
    np.maximum.at(largest, row, area)
    # The union of the pieces is slow. It is not needed where their sum is too little, or the largest enough, to cover
    # half of the field; for a field that crosses the cell's edge that is not known here.
    half = table["known"].to_numpy() / 2
    is_open = table["crosses"].to_numpy() | (largest < half) & (covered >= half * (1 - 1e-9))
    chosen = np.flatnonzero((is_open & (largest < covered))[row])
    chosen = chosen[np.argsort(row[chosen], kind="stable")]
    fields, of = np.unique(row[chosen], return_inverse=True)
    covered[fields] = shapely.area(united(pieces[chosen], of))
    return covered


def _summed(tables: Sequence[pd.DataFrame]) -> FieldTable:
    """The fields of all cells: those that cross a line between cells are in several."""
    own, summed = (
        dict.fromkeys(("area_m2", "area", "value"), "first"),
        dict.fromkeys(("known", "covered", "x", "y"), "sum"),
    )
    table = pd.concat(tables).groupby("number").agg({**own, **summed})
    with np.errstate(invalid="ignore"):
        centroid = table[["x", "y"]].to_numpy() / table[["known"]].to_numpy()
    columns = {name: table[name].to_numpy() for name in ("area_m2", "area", "known", "covered", "value")}
    return FieldTable(number=table.index.to_numpy(), centroid=centroid, **columns)


@dataclass(frozen=True, eq=False)
class MatchedSide:
    """What became of each field of one side.

    is_counted: false for a field that is left out, because less than half of it lies on known ground, or because it has
    no partner and at least half of its known part lies on such fields of the other side, which nobody can judge.
    partner: the row of the field of the other side that it is matched to, at an IoU of at least 0.5; -1 if none. iou:
    with the partner, 0 if none. is_uncovered: counted, but fields of the other side cover less than half of its known
    part: such a predicted field is false, such a reference field is missed.
    """

    is_counted: Bool[np.ndarray, " field"]
    partner: Int64[np.ndarray, " field"]
    iou: Float64[np.ndarray, " field"]
    is_uncovered: Bool[np.ndarray, " field"]


@dataclass(frozen=True, eq=False)
class Matches:
    """Which field is which, and the errors of every reference field.

    over_segmentation, under_segmentation: 0 (none) to 1, nan for a field that is left out or missed. shift_m: between
    the centroids of the field and its partner, in metres on the ellipsoid; nan without a partner. matched: the number
    of pairs at an IoU of at least 0.5; optimal: the most pairs that any matching one to one has there.
    """

    overlaps: FieldOverlaps
    predicted: MatchedSide
    reference: MatchedSide
    over_segmentation: Float64[np.ndarray, " field"]
    under_segmentation: Float64[np.ndarray, " field"]
    shift_m: Float64[np.ndarray, " field"]
    matched: int
    optimal: int


def match(overlaps: FieldOverlaps) -> Matches:
    """Match fields one to one, greedily by falling IoU, and measure the errors of each.

    IoU = |P∩R| / |P∪R| on known ground. Of equal pairs that of the lower numbers comes first, predicted before
    reference. Where the fields of a side do not overlap each other, a field has at most one partner of an IoU above
    0.5, and the greedy matching is the optimal one. Source: Kirillov et al. 2019, Panoptic segmentation,
    doi:10.1109/CVPR.2019.00963, whose rule for fields on unknown ground is followed too (section 4.2).

    Over-segmentation of a reference field R is 1 - |R∩M| / |R| and its under-segmentation 1 - |R∩M| / |M|, where M is
    the counted predicted field of the largest overlap with R. Source: Persello and Bruzzone 2010,
    doi:10.1109/TGRS.2009.2029570. Here they are measured for fields that are not missed.
    """
    ours, theirs = overlaps.predicted, overlaps.reference
    i, j = overlaps.pair.T
    enough, enough_there = (_share(side.known, side.area) >= 0.5 for side in (ours, theirs))
    counted = enough[i] & enough_there[j]
    iou = _share(overlaps.area, ours.known[i] + theirs.known[j] - overlaps.area)
    found = np.flatnonzero(counted & (iou >= THRESHOLDS[0]))
    taken = _greedy(i[found], j[found], iou[found])
    pairs = found[taken]
    graph = csr_array((np.ones(len(found)), (i[found], j[found])), shape=(len(ours), len(theirs)))
    one = _matched_side(ours, enough, i, j, pairs, iou, overlaps.area * ~enough_there[j])
    other = _matched_side(theirs, enough_there, j, i, pairs, iou, overlaps.area * ~enough[i])

    over, under, shift_m = (np.full(len(theirs), np.nan) for _ in range(3))
    share = _share(overlaps.area, theirs.known[j])
    able = np.flatnonzero(one.is_counted[i] & (other.is_counted & ~other.is_uncovered)[j])
    able = able[np.lexsort((i[able], -share[able], j[able]))]
    rows, first = np.unique(j[able], return_index=True)
    largest = able[first]
    over[rows] = 1 - share[largest]
    under[rows] = 1 - _share(overlaps.area[largest], ours.known[i[largest]])
    ends = np.stack([ours.centroid[i[pairs]], theirs.centroid[j[pairs]]], axis=1)
    shift_m[j[pairs]] = ellipsoidal_length_m(
        GeoSeries(shapely.linestrings(ends), crs=overlaps.crs), unit_m=overlaps.unit_m
    )
    return Matches(
        overlaps=overlaps,
        predicted=one,
        reference=other,
        over_segmentation=over,
        under_segmentation=under,
        shift_m=shift_m,
        matched=len(pairs),
        optimal=int((maximum_bipartite_matching(graph) >= 0).sum()),
    )


def _share(part: np.ndarray, whole: np.ndarray) -> Float64[np.ndarray, " *"]:
    """The quotient of areas, nan where the whole is none, without the digits in which areas are off."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share: np.ndarray = np.round(part / whole, 9)
    return share


def _greedy(
    i: Int64[np.ndarray, " pair"], j: Int64[np.ndarray, " pair"], iou: Float64[np.ndarray, " pair"]
) -> Int64[np.ndarray, " taken"]:
    """The pairs that are taken by falling IoU, each unless one of its fields is taken already.

    In every round, the pairs that come first for both of their fields are taken together: no other can forestall them.
    """
    left, taken = np.lexsort((j, i, -iou)), [np.empty(0, np.int64)]
    while len(left):
        first_i, first_j = (np.unique(each[left], return_index=True)[1] for each in (i, j))
        now = left[np.intersect1d(first_i, first_j)]
        taken.append(now)
        left = left[~(np.isin(i[left], i[now]) | np.isin(j[left], j[now]))]
    return np.sort(np.concatenate(taken))


def _matched_side(
    table: FieldTable,
    enough: Bool[np.ndarray, " field"],
    row: Int64[np.ndarray, " pair"],
    other: Int64[np.ndarray, " pair"],
    pairs: Int64[np.ndarray, " taken"],
    iou: Float64[np.ndarray, " pair"],
    on_unknown: Float64[np.ndarray, " pair"],
) -> MatchedSide:
    """One side: `row` and `other` are the rows of each pair, `on_unknown` its area if the other field is left out."""
    partner, best = np.full(len(table), -1), np.zeros(len(table))
    partner[row[pairs]], best[row[pairs]] = other[pairs], iou[pairs]
    left_out = _share(np.bincount(row, on_unknown, minlength=len(table)), table.known) >= 0.5
    counted = enough & ((partner >= 0) | ~left_out)
    return MatchedSide(counted, partner, best, counted & (_share(table.covered, table.known) < 0.5))


COUNTS = np.dtype(
    [
        *((name, np.float64) for name in (*SIDES, "predicted_left_out", "reference_left_out", "false", "missed")),
        *((f"matched_{side}", np.float64, (len(THRESHOLDS),)) for side in SIDES),
        *(
            (name, np.float64)
            for name in ("segmented", "over_segmentation", "under_segmentation", "segmentation_error")
        ),
        *((name, np.float64) for name in ("shifted", "shift_m")),
    ]
)


@dataclass(frozen=True, eq=False)
class FieldCounts:
    """Sums over fields: add two to pool them, or add rows of `values` with weights to draw blocks again.

    By name, as in `counts["missed"]`: predicted, reference: fields that are counted; predicted_left_out,
    reference_left_out: those that are not; false, missed; matched_predicted, matched_reference: fields with a partner
    at each of `THRESHOLDS`; over_segmentation, under_segmentation, segmentation_error: sums over the `segmented`
    reference fields; shift_m: the sum over the `shifted` ones.
    """

    values: Float64[np.ndarray, "*sum entry"] = field(default_factory=lambda: np.zeros(COUNTS.itemsize // 8))

    def __add__(self, other: FieldCounts) -> FieldCounts:
        return FieldCounts(self.values + other.values)

    def __getitem__(self, name: str) -> np.ndarray:
        found: np.ndarray = np.ascontiguousarray(self.values).view(COUNTS)[..., 0][name]
        return found


def count_fields(
    matches: Matches,
    predicted: Sequence[Any] | np.ndarray | None = None,
    reference: Sequence[Any] | np.ndarray | None = None,
) -> dict[Any, FieldCounts]:
    """The sums over the fields of each key. Without keys those of a side have the key None.

    predicted, reference: a key for each row of the tables of `matches.overlaps`. The segmentation error of a reference
    field is D = sqrt((OS^2 + US^2) / 2) of its over- and under-segmentation, the distance to a perfect segment. Source:
    Clinton et al. 2010, doi:10.14358/PERS.76.3.289, there for each of several segments that correspond to a field.
    """
    ours, theirs = matches.overlaps.predicted, matches.overlaps.reference
    one, other = (
        [None] * len(table) if keys is None else keys.tolist() if isinstance(keys, np.ndarray) else [*keys]
        for table, keys in ((ours, predicted), (theirs, reference))
    )
    groups = {key: number for number, key in enumerate(dict.fromkeys([*one, *other]))}
    code, code_there = (np.array([groups[key] for key in keys], np.int64) for keys in (one, other))
    over, under = matches.over_segmentation, matches.under_segmentation
    sums = np.zeros(len(groups), COUNTS)

    def add(name: str, of: np.ndarray, values: np.ndarray) -> None:
        sums[name] = np.bincount(of, np.nan_to_num(values.astype(np.float64)), minlength=len(groups))

    for side, of, lost in (("predicted", code, "false"), ("reference", code_there, "missed")):
        its: MatchedSide = getattr(matches, side)
        add(side, of, its.is_counted)
        add(f"{side}_left_out", of, ~its.is_counted)
        add(lost, of, its.is_uncovered)
        for place, threshold in enumerate(THRESHOLDS):
            reached = its.iou >= threshold
            sums[f"matched_{side}"][:, place] = np.bincount(of, reached, minlength=len(groups))
    for name, values in {
        "segmented": np.isfinite(over),
        "over_segmentation": over,
        "under_segmentation": under,
        "segmentation_error": np.sqrt((over**2 + under**2) / 2),
        "shifted": np.isfinite(matches.shift_m),
        "shift_m": matches.shift_m,
    }.items():
        add(name, code_there, values)
    rows = sums.view(np.float64).reshape(len(groups), COUNTS.itemsize // 8)
    return {key: FieldCounts(row) for key, row in zip(groups, rows, strict=True)}


def block_keys(table: FieldTable, *, size: float) -> list[tuple[int, int]]:
    """The block that each field's centroid lies in: (floor(x / size), floor(y / size)); size in units of the CRS."""
    return [*map(tuple, np.floor(np.nan_to_num(table.centroid) / size).astype(np.int64).tolist())]


def size_classes(table: FieldTable) -> Int64[np.ndarray, " field"]:
    """The class of each field by the area of the whole field, 0 (smallest) to 4; `size_names` names them."""
    classes: np.ndarray = np.searchsorted(np.array(SIZE_EDGES_HA) * 10_000, table.area_m2, side="right")
    return classes


def size_keys(matches: Matches) -> list[list[int]]:
    """The size class of each predicted and of each reference field, as keys for `count_fields`."""
    return [size_classes(table).tolist() for table in (matches.overlaps.predicted, matches.overlaps.reference)]


def size_names() -> tuple[Message, ...]:
    """The names of the size classes: very small, small, medium, large and very large fields, in hectares and mu.

    Source: Fritz et al. 2015, doi:10.1111/gcb.12838, and Lesiv et al. 2019, doi:10.1111/gcb.14492.
    """
    areas = [(f"{ha:g}", f"{ha * MU_PER_HA:g}") for ha in SIZE_EDGES_HA]
    (first, first_mu), (last, last_mu) = areas[0], areas[-1]
    return (
        Message("less than {ha} ha ({mu} mu)", ha=first, mu=first_mu),
        *(
            Message("{low} to {high} ha ({low_mu} to {high_mu} mu)", low=low, high=high, low_mu=low_mu, high_mu=high_mu)
            for (low, low_mu), (high, high_mu) in pairwise(areas)
        ),
        Message("{ha} ha ({mu} mu) or more", ha=last, mu=last_mu),
    )


def field_figures(counts: FieldCounts, *, complete: bool = True) -> dict[str, float | None]:
    """`field_rates` of one sum of fields as plain values, None where nothing was there to measure."""
    rates = {name: float(value) for name, value in field_rates(counts, complete=complete).items()}
    return {name: None if np.isnan(value) else value for name, value in rates.items()}


def field_rates(counts: FieldCounts, *, complete: bool = True) -> dict[str, Float64[np.ndarray, "*sum"]]:
    """Every figure of a sum of fields by its name, 0 to 1 but for the shift; nan where nothing was there to measure.

    With TP matched fields at a threshold of the IoU, precision = TP / predicted, recall = TP / reference, F1 =
    2 precision recall / (precision + recall), here 0 where one side has no field. precision, recall, f1: at 0.5.
    precision_50_95, recall_50_95, f1_50_95: means over the thresholds 0.50, 0.55 .. 0.95 (Lin et al. 2014, Microsoft
    COCO, doi:10.1007/978-3-319-10602-1_48). over_segmentation, under_segmentation, segmentation_error: means over the
    reference fields that are not missed. location_shift_m: mean over the matched reference fields at 0.5. missed,
    false: shares of the reference and of the predicted fields.

    complete: false where the reference does not hold all fields: a predicted field without a partner may be right then,
    and precision, F1 and false are nan.
    """
    predicted, reference = (counts[side].astype(np.float64) for side in SIDES)
    precision, recall = (
        ratio(counts[f"matched_{side}"], of[..., None] * np.ones(len(THRESHOLDS)))
        for side, of in zip(SIDES, (predicted, reference), strict=True)
    )
    p, r = np.nan_to_num(precision), np.nan_to_num(recall)
    f1 = np.where((predicted + reference > 0)[..., None], np.nan_to_num(ratio(2 * p * r, p + r)), np.nan)
    if not complete:
        precision, f1 = np.full_like(precision, np.nan), np.full_like(f1, np.nan)
    by_threshold = {"precision": precision, "recall": recall, "f1": f1}
    return {
        **{name: values[..., 0] for name, values in by_threshold.items()},
        **{f"{name}_50_95": values.mean(axis=-1) for name, values in by_threshold.items()},
        **{
            name: np.asarray(ratio(counts[name], counts["segmented"]))
            for name in ("over_segmentation", "under_segmentation", "segmentation_error")
        },
        "location_shift_m": np.asarray(ratio(counts["shift_m"], counts["shifted"])),
        "missed": np.asarray(ratio(counts["missed"], reference)),
        "false": np.asarray(ratio(counts["false"], predicted)) if complete else np.full(predicted.shape, np.nan),
    }
