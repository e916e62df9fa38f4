"""What a checker of parcels would object to: gaps, overlaps, edges that do not match, spikes, tiny rings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from geopandas import GeoDataFrame, GeoSeries
from pyproj import CRS
from rich.table import Table
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cropland.files import write_json
from cropland.geo.area import ellipsoidal_area_m2, ellipsoidal_length_m
from cropland.geo.grid import crs_name
from cropland.geo.vectors import only_areas, united
from cropland.language import Message, _, shown
from cropland.writers import replacing
from cropland.writers.qgis import faults_style
from cropland.writers.vector import add_layer_style, write_with_gdal

__all__ = ["KINDS", "LIMITS", "Topology", "examined"]

FORMAT = 1  # of topology.json
# Of a gap between parcels. Narrower is half of what makes a ridge of its own, 1 m (GB/T 21010-2017); smaller is less
# than maps leave where parcels meet at a corner. A hole that is larger is other land.
GAP_M = 0.5  # mean width, 2 x area / perimeter
GAP_M2 = 5.0
ROUNDING_M = 0.001  # mean width of a gap that is none: two borders that differ by the rounding of a file
OVERLAP_M2 = 0.01  # a square of 10 cm: the last bits of coordinates make less
SPIKE_DEGREES = 5.0  # between two edges: no field is drawn like this, and the maps of the samples stay above 17
TINY_M2 = 10.0  # of a ring: a fortieth of the least parcel, 400 m2 (TD/T 1055-2019)
LIMITS = {
    "gap_width_m": GAP_M,
    "gap_m2": GAP_M2,
    "rounding_m": ROUNDING_M,
    "overlap_m2": OVERLAP_M2,
    "spike_degrees": SPIKE_DEGREES,
    "tiny_ring_m2": TINY_M2,
}
# Each kind with its words and the unit of its value; the smallest spike is the worst, and of all others the largest.
KINDS = {
    "invalid": (Message("invalid polygon, repaired"), ""),
    "overlap": (Message("overlap of two parcels"), "m2"),
    "gap": (Message("gap between parcels"), "m2"),
    "edge": (Message("edge that does not match its neighbour's"), "m"),
    "spike": (Message("spike"), "°"),
    "tiny ring": (Message("tiny ring"), "m2"),
}
WORST = 20  # of each kind in topology.json
SOME = 1 << 16  # polygons whose angles are measured at a time


@dataclass(frozen=True, eq=False, repr=False)
class Topology:
    """What was found in parcels.

    found: a row for each, of the columns kind (as in `KINDS`), ids (of the parcels, with commas), value and its unit,
    note, and the geometry: what overlaps, the gap, the edge, the two edges of a spike, the ring, the place of an error.
    parcels: how many were examined.
    """

    found: GeoDataFrame
    parcels: int

    def __len__(self) -> int:
        return len(self.found)

    def counts(self) -> dict[str, int]:
        """How many there are of each kind."""
        return {kind: int((self.found["kind"] == kind).sum()) for kind in KINDS}

    def worst(self, kind: str) -> GeoDataFrame:
        """Those of a kind, the worst first."""
        rows = self.found[self.found["kind"] == kind]
        return rows.sort_values("value", ascending=kind == "spike", kind="stable")

    def as_json(self) -> dict[str, Any]:
        """The content of topology.json: limits, and for each kind its number and the worst, with their places."""
        kinds = {}
        for kind, (_words, unit) in KINDS.items():
            rows = self.worst(kind)
            places = _places(rows.geometry.iloc[:WORST])
            worst = [
                {
                    "ids": row.ids.split(", "),
                    "value": None if isnan(row.value) else row.value,
                    "note": row.note,
                    "x": place.x,
                    "y": place.y,
                }
                for row, place in zip(rows.itertuples(), places, strict=False)
            ]
            kinds[kind] = {"count": len(rows), "unit": unit, "worst": worst}
        crs = crs_name(self.found.crs)
        return {"format": FORMAT, "parcels": self.parcels, "crs": crs, "limits": LIMITS, "kinds": kinds}

    def table(self) -> Table:
        """The numbers and the worst of each kind, for a terminal."""
        heads = (_("topology"), _("number"), _("worst"), _("parcels"), _("place"))
        table = Table(*heads, box=None, header_style="dim")
        for kind, (words, unit) in KINDS.items():
            rows = self.worst(kind).iloc[:1]
            for row, place in zip(rows.itertuples(), _places(rows.geometry), strict=True):
                value = f"{row.value:.2f} {unit}" if unit else row.note
                table.add_row(shown(words), f"{self.counts()[kind]:,}", value, row.ids, f"{place.x:.8g} {place.y:.8g}")
            if rows.empty:
                table.add_row(shown(words), "0", "–", "–", "–")
        return table

    def save(self, folder: Path) -> None:
        """Write topology.json, and topology.gpkg with the layers `topology` of points and `topology_lines`.

        Raises `OutputError` where the GeoPackage cannot be written, `OSError` where topology.json cannot.
        """
        write_json(folder / "topology.json", self.as_json())
        places = GeoSeries(_places(self.found.geometry), self.found.index, self.found.crs)
        is_shape = shapely.get_dimensions(self.found.geometry.to_numpy()) > 0
        lines = self.found[is_shape]
        drawn = {"topology": (self.found.set_geometry(places), "Point")}
        drawn["topology_lines"] = (lines.set_geometry(_lines(lines.geometry)), "MultiLineString")
        with replacing(folder / "topology.gpkg") as hidden:
            for layer, (table, kind) in drawn.items():
                write_with_gdal([table], hidden, driver="GPKG", layer=layer, geometry_type=kind)
            add_layer_style(
                hidden,
                "topology",
                faults_style({kind: words for kind, (words, _unit) in KINDS.items()}),
                name="topology",
            )


def examined(parcels: GeoDataFrame, ids: np.ndarray, *, invalid: Sequence[tuple[str, str]] = ()) -> Topology:
    """Look for faults in parcels, which are single, valid polygons with a CRS, by the limits of `LIMITS`.

    ids: of the parcels, as text. invalid: those that were repaired before, by their id, with what GEOS says of them.
    """
    shapes, crs = parcels.geometry.to_numpy(), parcels.crs
    tree, edges = shapely.STRtree(shapes), shapely.coverage_invalid_edges(shapes)
    unmatched = np.flatnonzero(~shapely.is_empty(edges))
    tables = [
        _invalid(invalid),
        _overlaps(shapes, tree, unmatched, ids, crs),
        _gaps(shapes, tree, ids, crs),
        _edges(edges[unmatched], ids[unmatched], crs),
        _spikes(shapes, ids, crs),
        _tiny_rings(shapes, ids, crs),
    ]
    found = pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
    return Topology(GeoDataFrame(found, crs=crs), len(shapes))


def _table(
    kind: str, ids: Sequence[str] | np.ndarray, values: np.ndarray, shapes: np.ndarray, note: Any = ""
) -> pd.DataFrame:
    columns = {"ids": ids, "value": values, "unit": KINDS[kind][1], "note": note}
    table = pd.DataFrame(columns, index=range(len(shapes))).astype({"ids": "str", "value": "float64", "note": "str"})
    table.insert(0, "kind", kind)
    return table.assign(geometry=shapes)


def _invalid(found: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """As GEOS says it: `Self-intersection[500012.5 4000013]`."""
    reasons, places = [], []
    for _id, said in found:
        reason, _bracket, place = said.partition("[")
        reasons.append(reason.strip())
        places.append(shapely.Point(*map(float, place.rstrip("]").split()[:2])))
    return _table("invalid", [each for each, _said in found], np.full(len(found), np.nan), np.array(places), reasons)


def _overlaps(
    shapes: np.ndarray, tree: shapely.STRtree, unmatched: np.ndarray, ids: np.ndarray, crs: CRS
) -> pd.DataFrame:
    """Of two that overlap, an edge of one at least lies within the other, so it does not match."""
    one, other = tree.query(shapes[unmatched], predicate="intersects")
    pairs = np.sort(np.column_stack([unmatched[one], other]), axis=1)
    one, other = np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0).T
    shared = only_areas(shapely.intersection(shapes[one], shapes[other]))
    area = _area_m2(shared, crs)
    some = area > OVERLAP_M2
    return _table("overlap", ids[one[some]] + ", " + ids[other[some]], area[some], shared[some])


def _gaps(shapes: np.ndarray, tree: shapely.STRtree, ids: np.ndarray, crs: CRS) -> pd.DataFrame:
    """Small or narrow holes in the union of parcels that touch, but for the holes of single parcels."""
    one, other = tree.query(shapes, predicate="intersects")
    size = len(shapes)
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(size, size))
    _count, group = connected_components(graph, directed=False)
    members = np.flatnonzero(np.bincount(group)[group] > 1)
    members = members[np.argsort(group[members], kind="stable")]
    unions = united(shapes[members], np.unique(group[members], return_inverse=True)[1])
    rings, part = shapely.get_rings(shapely.get_parts(unions), return_index=True)
    holes = shapely.polygons(rings[np.diff(part, prepend=-1) == 0])  # the first ring of a part is its shell
    area, length = _area_m2(holes, crs), _length_m(holes, crs)
    is_small = (2 * area >= ROUNDING_M * length) & ((area < GAP_M2) | (2 * area < GAP_M * length))
    holes, area = holes[is_small], area[is_small]
    hole, beside = tree.query(holes, predicate="intersects")
    order = np.lexsort((beside, hole))
    counts = np.bincount(hole, minlength=len(holes))
    names = [", ".join(each) for each in np.split(ids[beside[order]], np.cumsum(counts)[:-1])]
    between = np.flatnonzero(counts > 1)  # a hole of one parcel alone is no gap
    return _table("gap", [names[number] for number in between], area[between], holes[between])


def _edges(edges: np.ndarray, ids: np.ndarray, crs: CRS) -> pd.DataFrame:
    return _table("edge", ids, _length_m(edges, crs), edges)


def _spikes(shapes: np.ndarray, ids: np.ndarray, crs: CRS) -> pd.DataFrame:
    """Corners with a small angle on the ground, some polygons at a time."""
    found = [_corners(shapes[first : first + SOME], first, crs) for first in range(0, len(shapes), SOME)]
    owner, degrees, corners = (np.concatenate(each) for each in zip(*found, strict=True))
    return _table("spike", ids[owner], degrees, corners)


def _corners(shapes: np.ndarray, first: int, crs: CRS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The number of the polygon of each spike, its angle, and its two edges."""
    rings, owner = shapely.get_rings(shapely.remove_repeated_points(shapes), return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    begins = np.flatnonzero(ring[1:] == ring[:-1])  # where an edge begins, that is each corner once
    of = ring[begins]
    before = np.append(0, begins[:-1])
    starts = np.append(True, of[1:] != of[:-1])
    before[starts] = begins[np.append(np.flatnonzero(starts)[1:] - 1, len(begins) - 1)]
    ahead, back = points[begins + 1] - points[begins], points[before] - points[begins]
    if crs.is_geographic:  # a degree along a parallel is shorter
        for each in (ahead, back):
            each[:, 0] *= np.cos(np.radians(points[begins, 1] * crs.axis_info[0].unit_conversion_factor * 180 / np.pi))
    turn = np.arctan2(ahead[:, 0] * back[:, 1] - ahead[:, 1] * back[:, 0], (ahead * back).sum(axis=1))
    degrees = np.degrees(np.abs(turn))
    sharp = np.flatnonzero(degrees < SPIKE_DEGREES)
    trios = np.stack([points[before[sharp]], points[begins[sharp]], points[begins[sharp] + 1]], axis=1)
    return first + owner[of[sharp]], degrees[sharp], shapely.linestrings(trios) if len(trios) else np.empty(0, object)


def _tiny_rings(shapes: np.ndarray, ids: np.ndarray, crs: CRS) -> pd.DataFrame:
    rings, owner = shapely.get_rings(shapes, return_index=True)
    area = _area_m2(shapely.polygons(rings), crs)
    tiny = area < TINY_M2
    return _table("tiny ring", ids[owner[tiny]], area[tiny], shapely.polygons(rings[tiny]))


def _area_m2(shapes: np.ndarray, crs: CRS) -> np.ndarray:
    return ellipsoidal_area_m2(GeoSeries(shapes, crs=crs))


def _length_m(shapes: np.ndarray, crs: CRS) -> np.ndarray:
    return ellipsoidal_length_m(GeoSeries(shapes, crs=crs))


def _places(shapes: GeoSeries) -> np.ndarray:
    """A point on each: of a spike its corner."""
    places: np.ndarray = shapely.point_on_surface(shapes.to_numpy())
    return places


def _lines(shapes: GeoSeries) -> GeoSeries:
    """Outlines of polygons, and lines as they are."""
    flat = shapes.to_numpy()
    is_area = shapely.get_dimensions(flat) == 2
    flat = np.where(is_area, shapely.boundary(flat), flat)
    parts, of = shapely.get_parts(flat, return_index=True)
    return GeoSeries(shapely.multilinestrings(parts, indices=of), shapes.index, shapes.crs)
