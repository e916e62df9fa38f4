"""Polygons from any vector file: valid, flat, and in the CRS of a scene."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import shapely
from geopandas import GeoDataFrame, GeoSeries
from odc.geo.geom import Geometry
from pandas import Series
from pyproj import CRS

from cropland.errors import GridError, LabelError
from cropland.geo.features import Bounds, Features, VectorLayer, describe_fields, named_in, open_layer
from cropland.geo.grid import check_frames, user_crs
from cropland.language import Message, joined

__all__ = [
    "Notes",
    "Polygons",
    "all_polygons",
    "areas_of",
    "check_columns",
    "crs_of",
    "describe_fields",
    "fields",
    "only_areas",
    "open_polygons",
    "read_polygons",
    "to_grid_crs",
    "united",
]

SHOWN = 20  # values of a field that a message lists
FEW = 1000  # features that are kept in memory whatever the file
EVERYWHERE = (-1e30, -1e30, 1e30, 1e30)  # finite, as indices want it
LARGEST = 1e100  # for a coordinate: its square must be a number
Notes = tuple[Message, ...]

OPEN = Message("{count} not closed", count=0)
SHORT = Message("{count} with a ring of one or two points", count=0)
ENDLESS = Message("{count} with a coordinate that is infinite or no number", count=0)
DAMAGED = Message("{count} damaged", count=0)


@dataclass(frozen=True, eq=False)
class Polygons:
    """Polygons of one CRS. They stay in a file that finds those near a box, else they are in memory.

    near: those that meet a box in this CRS, perhaps with others, and notes on those that cannot be used; the index is
    the number of each, the same whatever the box. bounds: of all, not finite if there is none.
    """

    crs: CRS
    near: Callable[[Bounds], tuple[GeoDataFrame, Notes]]
    bounds: Callable[[], Bounds]

    @staticmethod
    def of(frame: GeoDataFrame, notes: Notes = ()) -> Polygons:
        """The polygons of a frame, in memory; their numbers are their places in it."""
        numbered = frame.reset_index(drop=True)

        def near(box: Bounds) -> tuple[GeoDataFrame, Notes]:
            return numbered.iloc[np.sort(numbered.sindex.intersection(box))], notes

        return Polygons(frame.crs, near, lambda: tuple(frame.total_bounds))

    def meeting(self, extent: Geometry, *, allow_datum_shift: bool = False) -> tuple[GeoDataFrame, Notes]:
        """Those that meet an extent, in its CRS and with their numbers, and notes on those left out.

        Raises `GridError` for frames that PROJ cannot join, as `to_grid_crs` does.
        """
        if extent.crs is None and self.crs is None:
            frame, notes = self.near(extent.boundingbox.bbox)
            return frame[frame.intersects(extent.geom)], notes
        target = CRS.from_user_input(str(extent.crs))
        check_frames(self.crs, target, allow_datum_shift=allow_datum_shift)
        bounds = extent.boundingbox.bbox
        if self.crs != target:
            box = shapely.box(*extent.to_crs(self.crs).boundingbox.bbox)
            # Widened, because an edge that is straight in one CRS is curved in the other.
            bounds = box.buffer(0.02 * box.length).bounds if np.isfinite(box.bounds).all() else EVERYWHERE
        near, notes = self.near(bounds)
        moved = near.to_crs(target)
        shapes = moved.geometry.to_numpy()
        if (lost := ~np.isfinite(shapely.bounds(shapes)).all(axis=1)).any():
            # They reach to where the extent's CRS does not.
            shapes[lost] = near.geometry[lost].intersection(shapely.box(*bounds)).to_crs(target)
            moved = moved.set_geometry(GeoSeries(shapes, moved.index, target))
        meets = np.isfinite(shapely.bounds(shapes)).all(axis=1) & shapely.intersects(shapes, extent.geom)
        return moved[meets], notes


def open_polygons(
    path: str | PathLike[str],
    *,
    layer: str | None = None,
    where: str | None = None,
    encoding: str | None = None,
    columns: Sequence[str] = (),
) -> Polygons:
    """The polygons of a layer with these attributes; the other options, and errors, are those of `read_polygons`.

    Raises `LabelError` also for a column that the layer does not have.
    """
    opened = open_layer(Path(path), layer=layer, encoding=encoding)
    check_columns(opened, columns, encoding=encoding)
    some = opened.read(where=where, columns=columns, limit=FEW + 1 if opened.is_indexed else None)
    if not opened.is_indexed or len(some.wkb) <= FEW:
        return Polygons.of(*all_polygons(opened, some, where=where, encoding=encoding))

    def near(box: Bounds) -> tuple[GeoDataFrame, Notes]:
        return _polygons(opened, opened.read(where=where, columns=columns, near=box))

    return Polygons(crs_of(opened), near, lambda: opened.bounds(where))


def read_polygons(
    path: str | PathLike[str],
    *,
    layer: str | None = None,
    where: str | None = None,
    encoding: str | None = None,
    crs: str | None = None,
) -> GeoDataFrame:
    """The polygons of a layer, two-dimensional and valid, with all attributes and a CRS.

    layer: needed when several hold polygons. where: a condition in SQL on the attributes. encoding: of the attributes
    (GBK), where the file does not declare it. crs: in place of the file's.
    Raises `LabelError` when there is nothing to use: no file, layer, CRS, polygon, or none left after `where`.
    """
    opened = open_layer(Path(path), layer=layer, encoding=encoding)
    features = opened.read(where=where)
    return all_polygons(opened, features, where=where, encoding=encoding, crs=user_crs(crs) if crs else None)[0]


def all_polygons(
    layer: VectorLayer,
    features: Features,
    *,
    where: str | None = None,
    encoding: str | None = None,
    crs: CRS | None = None,
) -> tuple[GeoDataFrame, Notes]:
    """The polygons among features that were read from a layer, and a note on those that cannot be used.

    The options, and errors, are those of `read_polygons`.
    """
    if where and not len(features.wkb):
        raise LabelError(_nothing_left(layer, where=where, encoding=encoding))
    crs = crs or crs_of(layer)
    polygons, notes = _polygons(layer, features)
    if polygons.empty and notes:
        raise LabelError("{why}; repair the file", why=notes[0])
    if polygons.empty:
        shapes = shapely.from_wkb(features.wkb, on_invalid="ignore")
        raise LabelError(
            "{name} has no polygon among {count} features ({kinds}); give a layer of polygons",
            name=layer.path.name,
            count=len(features.wkb),
            kinds=", ".join(sorted(set(GeoSeries(shapes).geom_type.dropna()))) or "no geometry",
        )
    return polygons.reset_index(drop=True).set_crs(crs, allow_override=True), notes


def fields(path: str | PathLike[str], *, layer: str | None = None, encoding: str | None = None) -> list[str]:
    """The names of the attributes of a layer. Raises `LabelError` if there is no such file or layer."""
    return open_layer(Path(path), layer=layer, encoding=encoding).fields


def to_grid_crs(frame: GeoDataFrame, grid_crs: object, *, allow_datum_shift: bool = False) -> GeoDataFrame:
    """The polygons in the CRS of a grid; CGCS2000 and WGS 84 are taken as the same frame.

    Raises `GridError` for a grid without a CRS, and for frames that PROJ cannot join (Xi'an 1980, Beijing 1954), unless
    `allow_datum_shift` accepts its approximation.
    """
    if grid_crs is None:
        raise GridError("the scene has no coordinate reference system, so polygons cannot be placed on it; give --crs")
    target = CRS.from_user_input(str(grid_crs))
    check_frames(frame.crs, target, allow_datum_shift=allow_datum_shift)
    return frame.to_crs(target)


def only_areas(shapes: np.ndarray) -> np.ndarray:
    """The shapes, but of a collection only the union of its polygons."""
    mixed = np.flatnonzero(shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION)
    parts, of = shapely.get_parts(shapes[mixed], return_index=True)
    is_area = shapely.get_dimensions(parts) == 2
    found, row = np.unique(of[is_area], return_inverse=True)
    areas = shapes.copy()
    areas[mixed] = shapely.Polygon()
    areas[mixed[found]] = united(parts[is_area], row)
    return areas


def united(parts: np.ndarray, of: np.ndarray) -> np.ndarray:
    """The unions of the parts of each whole: `of` is the number of the whole, from 0 on, without gaps and rising."""
    unions: np.ndarray = shapely.union_all(shapely.geometrycollections(parts, indices=of)[:, None], axis=1)
    return unions


def check_columns(layer: VectorLayer, columns: Sequence[str], *, encoding: str | None) -> None:
    """Raise `LabelError` for columns that a layer does not have."""
    if missing := [column for column in columns if column not in layer.fields]:
        raise LabelError(
            "{name} has no column '{column}'; it has {columns}{hint}",
            name=layer.path.name,
            column=missing[0],
            columns=", ".join(layer.fields),
            hint=_garbled(layer.path, encoding),
        )


def _garbled(path: Path, encoding: str | None) -> str:
    """What to do where Chinese letters of a shapefile are not what they were."""
    undeclared = path.suffix == ".shp" and not encoding and not path.with_suffix(".cpg").exists()
    return Message("; if this is garbled, give --encoding GBK") if undeclared else ""


def crs_of(layer: VectorLayer) -> CRS:
    """The CRS of a layer. Raises `LabelError` where it has none."""
    if layer.crs is None:
        raise LabelError(
            "{name} has no coordinate reference system; write it into the file: ogr2ogr -a_srs "
            "EPSG:CODE {stem}_crs.gpkg {path}",
            name=layer.path.name,
            stem=layer.path.stem,
            path=layer.path,
        )
    return layer.crs


def _nothing_left(layer: VectorLayer, *, where: str, encoding: str | None) -> Message:
    """The values that the fields named in the condition really have."""
    named = named_in(where, layer.fields)
    table = layer.table(named or layer.fields)
    values = joined(
        "; ", (Message("{name} has {values}", name=name, values=_values(table[name])) for name in named)
    ) or describe_fields(layer.path, layer.fields)
    return Message(
        "--where {where!r} leaves none of the {count} features of {name}; {values}{hint}",
        where=where,
        count=len(table),
        name=layer.path.name,
        values=values,
        hint=_garbled(layer.path, encoding),
    )


def _values(column: Series) -> str:
    counts = column.value_counts(dropna=False)
    first = ", ".join(f"{value!r} ({count})" for value, count in counts.head(SHOWN).items())
    more = [Message(" and {len} more", len=len(counts) - SHOWN)] if len(counts) > SHOWN else []
    return joined("", (first, *more))


def _polygons(layer: VectorLayer, features: Features) -> tuple[GeoDataFrame, Notes]:
    """Features with an area, in two dimensions and valid, and a note on those that are broken."""
    shapes, broken = _shapes(features.wkb)
    frame = GeoDataFrame(features.attributes, geometry=_areas(shapes), crs=layer.crs)
    frame = frame[frame.geometry.notna()]
    count = sum(broken.values())
    note = Message(
        "{count} of {total} polygons read from {name} cannot be used: {reasons}",
        count=count,
        total=count + len(frame),
        name=layer.path.name,
        reasons=joined(", ", (reason.filled(count=number) for reason, number in broken.items())),
    )
    return frame, (note,) if count else ()


def areas_of(wkb: np.ndarray) -> tuple[np.ndarray, int]:
    """Geometries as valid polygons in two dimensions, None where there is no area; and how many had to be repaired."""
    shapes, _broken = _shapes(wkb)
    areas = _areas(shapes)
    return areas, int((~shapely.is_valid(shapes) & ~shapely.is_missing(areas)).sum())


def _areas(shapes: np.ndarray) -> np.ndarray:
    """The shapes as valid polygons, None for what has no area."""
    areas = only_areas(shapely.make_valid(shapes))  # repair may leave stray lines beside the polygons
    areas[~np.isin(shapely.get_type_id(areas), (3, 6)) | shapely.is_empty(areas)] = None
    return areas


def _shapes(wkb: np.ndarray) -> tuple[np.ndarray, Counter[Message]]:
    """Geometries in two dimensions, None for broken ones, which are counted by their reasons."""
    shapes, broken = shapely.force_2d(shapely.from_wkb(wkb, on_invalid="ignore")), Counter[Message]()
    for place in np.flatnonzero(shapely.is_missing(shapes)):
        if wkb[place] is not None:  # a surface, which GEOS does not know, or a broken one
            found = _flattened(wkb[place])
            if isinstance(found, Message):
                broken[found] += 1
            else:
                shapes[place] = found
    coordinates, owner = shapely.get_coordinates(shapes, return_index=True)
    endless = np.unique(owner[~(np.abs(coordinates) < LARGEST).all(axis=1)])
    broken[ENDLESS] += int((shapely.get_dimensions(shapes[endless]) == 2).sum())
    shapes[endless] = None
    return shapes, +broken


def _flattened(wkb: bytes) -> shapely.Geometry | Message | None:
    """The union of the faces of a surface, seen from above; why it is broken, or None where it has no face."""
    try:
        faces = list(_faces(wkb))
    except (struct.error, ValueError, IndexError, RecursionError):
        return DAMAGED
    rings = [ring for face in faces for ring in face]
    if not all((np.abs(ring) < LARGEST).all() for ring in rings):
        return ENDLESS
    if any(len(ring) < 3 for ring in rings):
        return SHORT
    if any((ring[0] != ring[-1]).any() for ring in rings):
        return OPEN
    shapes = [shapely.Polygon(shell, holes) for shell, *holes in faces]
    return shapely.union_all(shapely.make_valid(shapes)) if shapes else None


def _faces(wkb: bytes) -> Iterator[list[np.ndarray]]:
    """The rings, as x and y, of every polygon and triangle in a geometry (OGC 06-103r4, 8.2; Z and M also as flags)."""
    at = 0

    def number(kind: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(kind, wkb, at)
        at += struct.calcsize(kind)
        return int(value)

    def walk() -> Iterator[list[np.ndarray]]:
        nonlocal at
        order = "<" if number("B") else ">"
        code = number(f"{order}I")
        at += 4 if code & 0x20000000 else 0
        dimensions = (code & 0xFFFF) // 1000
        size = 2 + (bool(code & 0x80000000) or dimensions in (1, 3)) + (bool(code & 0x40000000) or dimensions in (2, 3))

        def points(count: int) -> np.ndarray:
            nonlocal at
            values = np.frombuffer(wkb, f"{order}f8", count * size, at).reshape(count, size)
            at += values.nbytes
            return values[:, :2]

        kind = (code & 0xFFFF) % 1000
        if kind == 1:
            points(1)
        elif kind == 2:
            points(number(f"{order}I"))
        elif kind in (3, 17):  # a polygon, a triangle
            rings = (points(number(f"{order}I")) for _ in range(number(f"{order}I")))
            if face := [ring for ring in rings if len(ring)]:
                yield face
        elif kind in (4, 5, 6, 7, 15, 16):  # collections, polyhedral surface, TIN
            for _ in range(number(f"{order}I")):
                yield from walk()
        else:
            raise ValueError(kind)

    yield from walk()
