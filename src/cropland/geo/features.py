"""The features of a layer: attributes, and geometries as WKB, read near a box or whole.

GDAL reads every format but GeoParquet and Arrow IPC (Feather), which Arrow reads.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as arrow_dataset
import pyogrio
import shapely
from geopandas import GeoDataFrame
from pandas import DataFrame
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError
from pyproj import CRS
from pyproj.exceptions import CRSError

from cropland.errors import LabelError, first_line
from cropland.language import Message

__all__ = ["Bounds", "Features", "VectorLayer", "describe_fields", "open_layer"]

Bounds = tuple[float, float, float, float]
FORMATS = {b"PAR1": "parquet", b"ARROW1": "feather"}
ROWS = 1 << 14  # read at a time from a file of Arrow
NUMBER = "number of the row"  # a column that is beside those of a file
PLACES = {"x", "lon", "longitude", "long", "easting", "经度"}  # columns of a table of points


class Features(NamedTuple):
    """Rows of a layer: their attributes, and their geometries as WKB, None where there is none.

    The index of the attributes is the number of each feature in the layer, whatever is read with it.
    """

    attributes: DataFrame
    wkb: np.ndarray


class VectorLayer(Protocol):
    """A layer with geometry. crs: None where the file names none. is_indexed: what lies near a box is found fast."""

    @property
    def path(self) -> Path: ...
    @property
    def fields(self) -> list[str]: ...
    @property
    def crs(self) -> CRS | None: ...
    @property
    def is_indexed(self) -> bool: ...

    def read(
        self,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        near: Bounds | None = None,
        limit: int | None = None,
    ) -> Features:
        """The features that meet a condition in SQL, with these attributes (all if None).

        near: features that do not meet this box may be missing. limit: the first so many. Raises `LabelError` for a
        condition that is none, and for a damaged file.
        """

    @property
    def left_out(self) -> Sequence[str]:
        """Columns that are never read, since their values are lists or other structures."""

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Features]:
        """All features in their order, some thousands at a time, with these attributes (all if None)."""

    def table(self, columns: Sequence[str]) -> DataFrame:
        """These attributes of all features."""

    def bounds(self, where: str | None) -> Bounds:
        """Those of the features that meet a condition, as far as they are finite."""


def open_layer(path: Path, *, layer: str | None = None, encoding: str | None = None) -> VectorLayer:
    """The layer of that name, or the only one with polygons.

    Raises `LabelError` where there is no such file or layer, or the layer holds no geometry.
    """
    if not path.exists():
        raise LabelError("{path} is not there; give a file of polygons", path=path)
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(6)
        if kind := next((kind for magic, kind in FORMATS.items() if start.startswith(magic)), None):
            return _open_arrow(path, kind, layer)
    return _open_gdal(path, layer, encoding)


def describe_fields(path: Path, known: Sequence[str]) -> Message:
    """The part of a message that names the fields of a layer."""
    if known:
        return Message("{name} has the fields {fields}", name=path.name, fields=", ".join(known))
    return Message("{name} has no fields", name=path.name)


def _without_geometry(path: Path, layer: str, fields: Sequence[str], others: Sequence[str]) -> LabelError:
    if others:
        advice = Message("choose a layer of polygons with --layer: {layers}", layers=", ".join(others))
    elif PLACES & {field.strip().lower() for field in fields}:
        advice = Message(
            "its columns are the coordinates of points, and a point has no area; give outlines as polygons"
        )
    else:
        advice = Message("give a file of polygons, such as a GeoPackage or a shapefile")
    return LabelError(
        "{name} holds a table without geometry, {layer!r} with the columns {fields}: {advice}",
        name=path.name,
        layer=layer,
        fields=", ".join(fields),
        advice=advice,
    )


def _open_gdal(path: Path, layer: str | None, encoding: str | None) -> VectorLayer:
    try:
        kinds = {str(name): kind for name, kind in pyogrio.list_layers(path)}
    except DataSourceError as error:
        raise LabelError(
            "{path} is not a vector file that can be read; give a GeoPackage, shapefile or GeoParquet", path=path
        ) from error
    fitting = [name for name, kind in kinds.items() if kind and "Point" not in kind and "Line" not in kind]
    if layer is None:
        if len(fitting) != 1 and len(kinds) != 1:
            raise LabelError(
                "{name} has {count} layers; choose one with --layer: {value}",
                name=path.name,
                count=len(kinds),
                value=", ".join(fitting or kinds),
            )
        layer = (fitting or list(kinds))[0]
    if layer not in kinds:
        raise LabelError(
            "{name} has no layer {layer!r}; it has {kinds}", name=path.name, layer=layer, kinds=", ".join(kinds)
        )
    try:
        about = pyogrio.read_info(path, layer=layer, encoding=encoding)
        crs = CRS.from_user_input(about["crs"]) if about["crs"] else None
    except (DataSourceError, DataLayerError, UnicodeError, LookupError, CRSError) as error:
        raise _unreadable(path, error) from error
    fields = [str(name) for name in about["fields"]]
    if kinds[layer] is None:
        raise _without_geometry(path, layer, fields, fitting)
    # A shapefile without an index is read in one go, but only what is near becomes a geometry.
    indexed = about["capabilities"]["fast_spatial_filter"] or about["driver"] == "ESRI Shapefile"
    return GdalLayer(path, fields, crs, indexed, layer, encoding)


def _unreadable(path: Path, error: Exception) -> LabelError:
    line = " ".join(str(error).split())[:200]
    return LabelError("{name} cannot be read ({line}); try --encoding GBK", name=path.name, line=line)


def _no_condition(path: Path, where: str, fields: Sequence[str]) -> LabelError:
    has = describe_fields(path, fields)
    return LabelError("--where {where!r} is no condition in SQL; {has}", where=where, has=has)


def named_in(where: str, fields: Sequence[str]) -> list[str]:
    """The fields that a condition names."""
    return [field for field in fields if re.search(rf"(?<!\w){re.escape(field)}(?!\w)", where, re.IGNORECASE)]


@dataclass(frozen=True)
class GdalLayer:
    """A layer of a file that GDAL reads; curves come as lines."""

    path: Path
    fields: list[str]
    crs: CRS | None
    is_indexed: bool
    layer: str
    encoding: str | None

    @property
    def left_out(self) -> Sequence[str]:
        """None of them."""
        return ()

    def read(
        self,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        near: Bounds | None = None,
        limit: int | None = None,
    ) -> Features:
        """As in `VectorLayer`."""
        if columns is not None and where:
            columns = [*columns, *named_in(where, self.fields)]  # some drivers find nothing by a field that they skip
        how = {
            "layer": self.layer,
            "encoding": self.encoding,
            "columns": columns,
            "max_features": limit,
            "return_fids": True,
        }
        try:
            sql = where and _quoted(where, self.fields)
            try:
                about, numbers, wkb, values = pyogrio.raw.read(self.path, where=sql, bbox=near, **how)
            except FeatureError:
                # GDAL cannot compare a ring that is not closed with the box.
                about, numbers, wkb, values = pyogrio.raw.read(self.path, where=sql, **how)
        except (DataSourceError, DataLayerError, FieldError, ValueError) as error:
            if where and not isinstance(error, UnicodeError):
                raise _no_condition(self.path, where, self.fields) from error
            raise _unreadable(self.path, error) from error
        return Features(DataFrame(dict(zip(about["fields"], values, strict=True)), index=numbers), wkb)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Features]:
        """As in `VectorLayer`."""
        how = {"layer": self.layer, "encoding": self.encoding, "columns": columns}
        start = 0
        try:
            with pyogrio.raw.open_arrow(self.path, use_pyarrow=True, batch_size=ROWS, **how) as (about, reader):
                for batch in reader:
                    table = pa.table(batch)
                    place = len(table.column_names) - 1  # the geometry comes last, whatever it is called
                    # Of a column with a domain of codes the values are the codes, and not the words of the domain.
                    codes = [_codes(column) for column in table.columns[:place]]
                    wkb = table.column(place).to_numpy(zero_copy_only=False)
                    if _has_curves(wkb):
                        some = {"skip_features": start, "max_features": len(wkb), "columns": []}
                        wkb = pyogrio.raw.read(self.path, **{**how, **some})[2]  # in which curves are lines
                    yield Features(_as_pandas(codes, about["fields"], start=start, count=len(wkb)), wkb)
                    start += len(wkb)
        except (DataSourceError, DataLayerError, FeatureError, FieldError, ValueError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error

    def table(self, columns: Sequence[str]) -> DataFrame:
        """As in `VectorLayer`."""
        if not columns:
            about = pyogrio.read_info(self.path, layer=self.layer, force_feature_count=True)
            return DataFrame(index=range(about["features"]))
        how = {"layer": self.layer, "encoding": self.encoding, "columns": columns, "read_geometry": False}
        table: DataFrame = pyogrio.read_dataframe(self.path, **how)
        return table

    def bounds(self, where: str | None) -> Bounds:
        """As in `VectorLayer`."""
        sql = where and _quoted(where, self.fields)
        return _union(pyogrio.read_bounds(self.path, layer=self.layer, where=sql)[1].T)


def _quoted(where: str, fields: Sequence[str]) -> str:
    """The condition with quotes around Chinese names of fields, which SQL wants."""
    foreign = [re.escape(field) for field in sorted(fields, key=len, reverse=True) if not field.isascii()]
    if not foreign:
        return where
    parts = re.split(r"""('[^']*'|"[^"]*")""", where)
    parts[::2] = [re.sub("|".join(foreign), r'"\g<0>"', part) for part in parts[::2]]
    return "".join(parts)


def _open_arrow(path: Path, kind: str, layer: str | None) -> VectorLayer:
    try:
        schema = arrow_dataset.dataset(path, format=kind).schema
        column, about = _geometry_column(schema)
        # By the specification a column that names no CRS is in longitude and latitude.
        text = about.get("crs", "OGC:CRS84") if column else None
        crs = CRS.from_user_input(text) if text else None
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, AttributeError, CRSError) as error:
        raise LabelError(
            "{path} is not a GeoParquet or Feather file that can be read ({error}); copy it again",
            path=path,
            error=first_line(error),
        ) from error
    if layer is not None:
        raise LabelError("{name} has no layer {layer!r}; leave --layer out", name=path.name, layer=layer)
    if column is None:
        raise _without_geometry(path, path.stem, schema.names, [])
    fields = [field.name for field in schema if field.name != column and _is_plain(field.type)]
    return ArrowLayer(path, fields, crs, True, kind, column, about)


def _geometry_column(schema: pa.Schema) -> tuple[str | None, dict[str, Any]]:
    """The name of the primary column and what its metadata say of it: those of GeoParquet, else those of GeoArrow."""
    if b"geo" in (schema.metadata or {}):
        about = json.loads(schema.metadata[b"geo"])
        column = about["primary_column"]
        schema.field(column)
        return column, about["columns"][column]
    for field in schema:
        said = field.metadata or {}
        name = said.get(b"ARROW:extension:name", b"").decode()
        if name.startswith(("geoarrow.", "ogc.")):
            more = json.loads(said.get(b"ARROW:extension:metadata") or b"{}")
            return field.name, {"encoding": name.partition(".")[2], "crs": more.get("crs")}
    return None, {}


def _is_plain(kind: pa.DataType) -> bool:
    """Whether SQL can compare values of this kind."""
    of = pa.types
    if of.is_dictionary(kind):
        return _is_plain(kind.value_type)
    text = (of.is_string, of.is_large_string, of.is_string_view)
    numbers = (of.is_integer, of.is_floating, of.is_decimal, of.is_boolean, of.is_temporal)
    return any(test(kind) for test in (*numbers, *text))


@dataclass(frozen=True)
class ArrowLayer:
    """A file of GeoParquet or Arrow IPC; row groups whose bounds lie elsewhere stay unread.

    column, about: the geometry, and what the metadata say of it (GeoParquet 1.1, geoparquet.org).
    """

    path: Path
    fields: list[str]
    crs: CRS | None
    is_indexed: bool
    kind: str
    column: str
    about: dict[str, Any]

    @property
    def left_out(self) -> Sequence[str]:
        """As in `VectorLayer`."""
        bounds = {path[0] for path in self.about.get("covering", {}).get("bbox", {}).values()}
        return [name for name in self._dataset.schema.names if name not in {*self.fields, self.column, *bounds}]

    def read(
        self,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        near: Bounds | None = None,
        limit: int | None = None,
    ) -> Features:
        """As in `VectorLayer`."""
        columns = self.fields if columns is None else columns
        tables, arrays, count = [DataFrame(columns=[*columns], index=np.empty(0, np.int64))], [np.empty(0, object)], 0
        for attributes, wkb in self._batches(columns, where=where, near=near):
            tables.append(attributes)
            arrays.append(wkb)
            count += len(wkb)
            if limit is not None and count >= limit:
                break
        whole = pd.concat(tables[1:] or tables)[[*columns]]
        return Features(whole[:limit], np.concatenate(arrays)[:limit])

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Features]:
        """As in `VectorLayer`."""
        return self._batches(self.fields if columns is None else columns, where=None, near=None)

    def _batches(self, columns: Sequence[str], *, where: str | None, near: Bounds | None) -> Iterator[Features]:
        names = dict.fromkeys([*columns, *(named_in(where, self.fields) if where else [])])
        box, bounds = self._box(near)
        how = {"columns": [*dict.fromkeys([*names, self.column, *bounds])], "batch_size": ROWS, "batch_readahead": 2}
        try:
            for fragment, numbers in self._fragments(box):
                for batch in fragment.to_batches(**how):
                    here, numbers = numbers[: batch.num_rows], numbers[batch.num_rows :]
                    if box is not None:
                        batch = batch.append_column(NUMBER, pa.array(here)).filter(box)
                        here = batch.column(NUMBER).to_numpy()
                    table = self._attributes(batch.select([*names]))
                    kept = np.ones(len(table), bool) if where is None else self._meets(table, where)
                    wkb = self._wkb(batch.column(self.column))
                    if near is not None:
                        kept &= _is_near(wkb, near)
                    if kept.any():
                        yield Features(table.set_axis(here)[kept], wkb[kept])
        except (pa.ArrowException, OSError, ValueError, shapely.GEOSException) as error:
            raise LabelError(
                "{path} is damaged ({error}); copy it again", path=self.path, error=first_line(error)
            ) from error

    def _fragments(self, box: pc.Expression | None) -> Iterator[tuple[arrow_dataset.Fragment, np.ndarray]]:
        """The row groups that may hold what meets the box, and the numbers of their rows in the file."""
        for fragment in self._dataset.get_fragments():
            numbers = np.arange(fragment.count_rows())
            if box is None or not isinstance(fragment, arrow_dataset.ParquetFileFragment):
                yield fragment, numbers
                continue
            groups = np.split(numbers, np.cumsum([group.num_rows for group in fragment.row_groups])[:-1])
            near = [group.id for group in fragment.subset(box).row_groups]
            if near:  # a fragment of no row groups would be read whole
                yield fragment.subset(row_group_ids=near), np.concatenate([groups[number] for number in near])

    @cached_property
    def _dataset(self) -> arrow_dataset.Dataset:
        return arrow_dataset.dataset(self.path, format=self.kind)

    def _box(self, near: Bounds | None) -> tuple[pc.Expression | None, list[str]]:
        """What the bounds of a row must meet, and the columns of these bounds, where the file holds them."""
        bounds = self.about.get("covering", {}).get("bbox")
        if near is None or bounds is None:
            return None, []
        west, south, east, north = (pc.field(*bounds[name]) for name in ("xmin", "ymin", "xmax", "ymax"))
        box = (west <= near[2]) & (south <= near[3]) & (east >= near[0]) & (north >= near[1])
        return box, [path[0] for path in bounds.values()]

    def _attributes(self, batch: pa.RecordBatch) -> DataFrame:
        columns = [
            pc.cast(column, pa.string())
            if pa.types.is_temporal(column.type)
            else column.dictionary_decode()
            if pa.types.is_dictionary(column.type)
            else column
            for column in batch.columns
        ]
        return _as_pandas(columns, batch.schema.names, start=0, count=batch.num_rows)

    def _wkb(self, column: pa.Array) -> np.ndarray:
        encoding = self.about.get("encoding", "WKB").lower()
        if encoding == "wkb":
            storage = column.storage if isinstance(column, pa.ExtensionArray) else column
            wkb: np.ndarray = storage.to_numpy(zero_copy_only=False)
            return wkb.astype(object)
        field = pa.field(self.column, column.type, metadata={"ARROW:extension:name": f"geoarrow.{encoding}"})
        table = pa.Table.from_arrays([column], schema=pa.schema([field]))
        encoded: np.ndarray = GeoDataFrame.from_arrow(table).geometry.to_wkb().to_numpy()
        return encoded

    def _meets(self, table: DataFrame, where: str) -> np.ndarray:
        """Which rows meet a condition in SQL."""
        named = named_in(where, self.fields)
        meets = np.zeros(len(table), bool)
        try:
            with closing(sqlite3.connect(":memory:")) as base:
                table[named].to_sql("features", base, index_label=NUMBER, index=True)
                found = base.execute(f'SELECT "{NUMBER}" FROM features WHERE {_quoted(where, named)}')
                meets[[row for (row,) in found]] = True
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            raise _no_condition(self.path, where, self.fields) from error
        return meets

    def table(self, columns: Sequence[str]) -> DataFrame:
        """As in `VectorLayer`."""
        table: DataFrame = self._dataset.to_table(columns=[*columns]).to_pandas()
        return table

    def bounds(self, where: str | None) -> Bounds:
        """As in `VectorLayer`."""
        return _union(np.array([_union(_bounds(wkb)) for _, wkb in self._batches([], where=where, near=None)]))


def _codes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_dictionary(column.type):
        return column
    return pa.chunked_array([chunk.indices for chunk in column.chunks], column.type.index_type)


def _has_curves(wkb: np.ndarray) -> bool:
    """Whether there are geometries of the kinds 8 to 12 of ISO 19125 among them: arcs, and what is made of them."""
    heads = b"".join(each[:5] for each in wkb if each is not None)
    fields = np.frombuffer(heads, np.uint8).reshape(-1, 5)
    if not len(fields):
        return False
    little = fields[:, 0] == 1
    codes = np.where(little, fields[:, 1:].copy().view("<u4")[:, 0], fields[:, 1:].copy().view(">u4")[:, 0])
    return bool(np.isin((codes & 0xFFFF) % 1000, (8, 9, 10, 11, 12)).any())


def _as_pandas(columns: Sequence[Any], names: Sequence[str], *, start: int, count: int) -> DataFrame:
    """Attributes as they are in the file: whole numbers stay so where some are missing. start: number of the first."""
    frames = {str(name): column.to_pandas(types_mapper=_kept_type) for name, column in zip(names, columns, strict=True)}
    return DataFrame({name: values.array for name, values in frames.items()}, index=range(start, start + count))


def _kept_type(kind: pa.DataType) -> Any:
    """How pandas holds a type that it would else turn into floats or objects where values are missing."""
    if pa.types.is_boolean(kind):
        return pd.BooleanDtype()
    if pa.types.is_integer(kind):
        return pd.api.types.pandas_dtype(str(kind).replace("uint", "UInt").replace("int", "Int"))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pd.api.types.pandas_dtype("str")
    return None if pa.types.is_floating(kind) else pd.ArrowDtype(kind)


def _bounds(wkb: np.ndarray) -> np.ndarray:
    """West, south, east and north of each; NaN where it cannot be read."""
    bounds: np.ndarray = shapely.bounds(shapely.from_wkb(wkb, on_invalid="ignore"))
    return bounds


def _is_near(wkb: np.ndarray, near: Bounds) -> np.ndarray:
    """Whether the bounds meet the box; what cannot be read may be anywhere."""
    west, south, east, north = _bounds(wkb).T
    away = (west > near[2]) | (south > near[3]) | (east < near[0]) | (north < near[1])
    is_near: np.ndarray = ~away
    return is_near


def _union(bounds: np.ndarray) -> Bounds:
    """The bounds of all that are finite; infinite the other way round if none are."""
    finite = bounds[np.isfinite(bounds).all(axis=1)]
    low, high = finite[:, :2].min(axis=0, initial=np.inf), finite[:, 2:].max(axis=0, initial=-np.inf)
    west, south, east, north = map(float, (*low, *high))
    return west, south, east, north
