"""Polygons from any vector file, ready to be laid over a scene."""

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
from cropland.geo.crs import check_frames, user_crs

__all__ = ["read_polygons", "to_grid_crs"]

SHOWN = 20  # values of a field that a message lists


def read_polygons(
    path: str | PathLike[str],
    *,
    layer: str | None = None,
    where: str | None = None,
    encoding: str | None = None,
    crs: str | None = None,
) -> GeoDataFrame:
    """The polygons of a layer, flat, valid, with all attributes and a CRS.

    layer: needed when several hold polygons. where: a condition in SQL on the attributes. encoding: of the attributes
    (GBK), where the file does not say. crs: in place of the file's.
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
        raise LabelError(f"{path.name} has no polygon among {len(frame)} features ({kinds}); give a layer of polygons")
    if crs:
        return polygons.set_crs(user_crs(crs), allow_override=True)
    if polygons.crs is None:
        raise LabelError(
            f"{path.name} has no coordinate reference system; write it into the file: "
            f"ogr2ogr -a_srs EPSG:CODE {path.stem}_crs.gpkg {path}"
        )
    return polygons


def to_grid_crs(frame: GeoDataFrame, grid_crs: object, *, shift: bool = False) -> GeoDataFrame:
    """The polygons in the CRS of a grid. CGCS2000 is taken as the WGS 84 frame that it is.

    Raises `GridError` for a grid without a CRS, and for frames that PROJ cannot join (Xi'an 1980, Beijing 1954), unless
    `shift` accepts its approximation.
    """
    if grid_crs is None:
        raise GridError("the scene has no coordinate reference system, so polygons have no place in it; give --crs")
    target = CRS.from_user_input(str(grid_crs))
    check_frames(frame.crs, target, shift=shift)
    return frame.to_crs(target)


def _layer(path: Path, layer: str | None) -> str:
    """The layer of that name, or the only one with polygons."""
    if not path.exists():
        raise LabelError(f"{path} is not there; give a file of polygons")
    try:
        kinds = {str(name): kind for name, kind in pyogrio.list_layers(path)}
    except DataSourceError as error:
        raise LabelError(f"{path} is not a vector file that GDAL can read; give a GeoPackage or shapefile") from error
    if layer is not None:
        if layer not in kinds:
            raise LabelError(f"{path.name} has no layer {layer!r}; it has {', '.join(kinds)}")
        return layer
    fitting = [name for name, kind in kinds.items() if kind and "Point" not in kind and "Line" not in kind]
    if len(fitting) == 1 or len(kinds) == 1:
        return (fitting or list(kinds))[0]
    raise LabelError(f"{path.name} has {len(kinds)} layers; choose one with --layer: {', '.join(fitting or kinds)}")


def _read(path: Path, layer: str, *, where: str | None, encoding: str | None) -> GeoDataFrame:
    fields = _fields(path, layer, encoding)
    try:
        return pyogrio.read_dataframe(path, layer=layer, where=where and _quoted(where, fields), encoding=encoding)
    except (DataSourceError, DataLayerError, FieldError, ValueError) as error:
        if where and not isinstance(error, UnicodeError):
            has = f"{path.name} has the fields {', '.join(fields)}"
            raise LabelError(f"--where {where!r} is no condition ({_line(error)}); {has}") from error
        raise LabelError(f"{path.name} cannot be read ({_line(error)}); try --encoding GBK") from error


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
        raise LabelError(f"{path.name} cannot be read ({_line(error)}); try --encoding GBK") from error


def _nothing_left(path: Path, layer: str, *, where: str, encoding: str | None) -> str:
    """The values that the fields named in the condition really have."""
    fields = _fields(path, layer, encoding)
    named = [f for f in fields if re.search(rf"(?<!\w){re.escape(f)}(?!\w)", where, re.IGNORECASE)]
    table = pyogrio.read_dataframe(path, layer=layer, columns=named or fields, read_geometry=False, encoding=encoding)
    values = "; ".join(f"{name} has {_values(table[name])}" for name in named) or f"its fields: {', '.join(fields)}"
    garbled = path.suffix == ".shp" and not encoding and not path.with_suffix(".cpg").exists()
    hint = "; if this is garbled, give --encoding GBK" if garbled else ""
    return f"--where {where!r} leaves none of the {len(table)} features of {path.name}; {values}{hint}"


def _values(column: Series) -> str:
    counts = column.value_counts(dropna=False)
    shown = ", ".join(f"{value!r} ({count})" for value, count in counts.head(SHOWN).items())
    return shown + (f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else "")


def _polygons(frame: GeoDataFrame) -> GeoDataFrame:
    """Rows with an area, in two dimensions and valid."""
    shapes = shapely.make_valid(shapely.force_2d(frame.geometry.to_numpy()))
    kinds = shapely.get_type_id(shapes)
    # Repair may leave stray lines beside the polygons.
    mixed = kinds == shapely.GeometryType.GEOMETRYCOLLECTION
    shapes[mixed] = [_areas(shape) for shape in shapes[mixed]]
    keep = np.isin(shapely.get_type_id(shapes), (3, 6)) & ~shapely.is_empty(shapes)
    valid: GeoDataFrame = frame.set_geometry(GeoSeries(shapes, index=frame.index, crs=frame.crs))
    return valid[keep].reset_index(drop=True)


def _areas(collection: shapely.Geometry) -> shapely.Geometry:
    parts = shapely.get_parts(collection)
    return shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
