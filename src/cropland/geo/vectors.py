"""Polygons from any vector file: valid, flat, and in the CRS of a scene."""

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from geopandas import GeoDataFrame, GeoSeries
from pandas import Series
from pyogrio.errors import DataLayerError, DataSourceError, FieldError
from pyproj import CRS

from cropland.errors import GridError, LabelError
from cropland.geo.grid import check_frames, user_crs
from cropland.language import Message, joined

__all__ = ["describe_fields", "fields", "read_polygons", "to_grid_crs"]

SHOWN = 20  # values of a field that a message lists


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
    path = Path(path)
    layer = _layer(path, layer)
    frame = _read(path, layer, where=where, encoding=encoding)
    if where and frame.empty:
        raise LabelError(_nothing_left(path, layer, where=where, encoding=encoding))
    polygons = _polygons(frame)
    if polygons.empty:
        kinds = ", ".join(sorted(set(frame.geom_type.dropna()))) or "no geometry"
        raise LabelError(
            "{name} has no polygon among {count} features ({kinds}); give a layer of polygons",
            name=path.name,
            count=len(frame),
            kinds=kinds,
        )
    if crs:
        return polygons.set_crs(user_crs(crs), allow_override=True)
    if polygons.crs is None:
        raise LabelError(
            "{name} has no coordinate reference system; write it into the file: ogr2ogr -a_srs "
            "EPSG:CODE {stem}_crs.gpkg {path}",
            name=path.name,
            stem=path.stem,
            path=path,
        )
    return polygons


def fields(path: str | PathLike[str], *, layer: str | None = None, encoding: str | None = None) -> list[str]:
    """The names of the attributes of a layer. Raises `LabelError` if there is no such file or layer."""
    path = Path(path)
    return _fields(path, _layer(path, layer), encoding)


def describe_fields(path: Path, known: Sequence[str]) -> Message:
    """The part of a message that names the fields of a layer."""
    if known:
        return Message("{name} has the fields {fields}", name=path.name, fields=", ".join(known))
    return Message("{name} has no fields", name=path.name)


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


def _layer(path: Path, layer: str | None) -> str:
    """The layer of that name, or the only one with polygons."""
    if not path.exists():
        raise LabelError("{path} is not there; give a file of polygons", path=path)
    try:
        kinds = {str(name): kind for name, kind in pyogrio.list_layers(path)}
    except DataSourceError as error:
        raise LabelError(
            "{path} is not a vector file that GDAL can read; give a GeoPackage or shapefile", path=path
        ) from error
    if layer is not None:
        if layer not in kinds:
            raise LabelError(
                "{name} has no layer {layer!r}; it has {kinds}", name=path.name, layer=layer, kinds=", ".join(kinds)
            )
        return layer
    fitting = [name for name, kind in kinds.items() if kind and "Point" not in kind and "Line" not in kind]
    if len(fitting) == 1 or len(kinds) == 1:
        return (fitting or list(kinds))[0]
    raise LabelError(
        "{name} has {count} layers; choose one with --layer: {value}",
        name=path.name,
        count=len(kinds),
        value=", ".join(fitting or kinds),
    )


def _read(path: Path, layer: str, *, where: str | None, encoding: str | None) -> GeoDataFrame:
    known = _fields(path, layer, encoding)
    try:
        return pyogrio.read_dataframe(path, layer=layer, where=where and _quoted(where, known), encoding=encoding)
    except (DataSourceError, DataLayerError, FieldError, ValueError) as error:
        if where and not isinstance(error, UnicodeError):
            has = describe_fields(path, known)
            raise LabelError("--where {where!r} is no condition in SQL; {has}", where=where, has=has) from error
        raise LabelError(
            "{name} cannot be read ({line}); try --encoding GBK", name=path.name, line=_line(error)
        ) from error


def _quoted(where: str, fields: Sequence[str]) -> str:
    """The condition with quotes around Chinese names of fields, which SQL wants."""
    foreign = [re.escape(field) for field in sorted(fields, key=len, reverse=True) if not field.isascii()]
    if not foreign:
        return where
    parts = re.split(r"""('[^']*'|"[^"]*")""", where)
    parts[::2] = [re.sub("|".join(foreign), r'"\g<0>"', part) for part in parts[::2]]
    return "".join(parts)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _fields(path: Path, layer: str, encoding: str | None) -> list[str]:
    try:
        return [str(name) for name in pyogrio.read_info(path, layer=layer, encoding=encoding)["fields"]]
    except (DataSourceError, DataLayerError, UnicodeError, LookupError) as error:
        raise LabelError(
            "{name} cannot be read ({line}); try --encoding GBK", name=path.name, line=_line(error)
        ) from error


def _nothing_left(path: Path, layer: str, *, where: str, encoding: str | None) -> Message:
    """The values that the fields named in the condition really have."""
    fields = _fields(path, layer, encoding)
    named = [f for f in fields if re.search(rf"(?<!\w){re.escape(f)}(?!\w)", where, re.IGNORECASE)]
    table = pyogrio.read_dataframe(path, layer=layer, columns=named or fields, read_geometry=False, encoding=encoding)
    values = joined(
        "; ", (Message("{name} has {values}", name=name, values=_values(table[name])) for name in named)
    ) or Message("its fields: {fields}", fields=", ".join(fields))
    garbled = path.suffix == ".shp" and not encoding and not path.with_suffix(".cpg").exists()
    hint = Message("; if this is garbled, give --encoding GBK") if garbled else ""
    return Message(
        "--where {where!r} leaves none of the {count} features of {name}; {values}{hint}",
        where=where,
        count=len(table),
        name=path.name,
        values=values,
        hint=hint,
    )


def _values(column: Series) -> str:
    counts = column.value_counts(dropna=False)
    first = ", ".join(f"{value!r} ({count})" for value, count in counts.head(SHOWN).items())
    more = [Message(" and {len} more", len=len(counts) - SHOWN)] if len(counts) > SHOWN else []
    return joined("", (first, *more))


def _polygons(frame: GeoDataFrame) -> GeoDataFrame:
    """Rows with an area, in two dimensions and valid."""
    shapes = shapely.make_valid(shapely.force_2d(frame.geometry.to_numpy()))
    kinds = shapely.get_type_id(shapes)
    # Repair may leave stray lines beside the polygons.
    mixed = kinds == shapely.GeometryType.GEOMETRYCOLLECTION
    for place in np.flatnonzero(mixed):
        parts = shapely.get_parts(shapes[place])
        shapes[place] = shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
    keep = np.isin(shapely.get_type_id(shapes), (3, 6)) & ~shapely.is_empty(shapes)
    valid: GeoDataFrame = frame.set_geometry(GeoSeries(shapes, index=frame.index, crs=frame.crs))
    return valid[keep].reset_index(drop=True)
