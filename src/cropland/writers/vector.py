"""Parcels in three formats, chunk by chunk: GeoParquet for analysis, GeoPackage for QGIS, GeoJSON for the web."""

import json
from collections.abc import Iterable
from contextlib import ExitStack
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
from geopandas import GeoDataFrame

from cropland.errors import GridError
from cropland.writers import replacing

__all__ = ["write_geojson", "write_geopackage", "write_geoparquet"]

FIBOA = {"fiboa_version": "0.2.0", "fiboa_extensions": []}


def write_geoparquet(chunks: Iterable[GeoDataFrame], out: Path) -> None:
    """Write parcels as GeoParquet 1.1 with bounding boxes per row and the file metadata of fiboa 0.2.

    chunks: at least one, of the same columns. Each is a row group whose statistics hold its bounds: a reader of an area
    skips the others if neighbours are in one chunk. Raises `OutputError` where `out` cannot be written.
    Source: geoparquet.org, version 1.1.0; github.com/fiboa/specification, version 0.2.0.
    """
    with replacing(out) as hidden, ExitStack() as stack:
        writer, geo = None, {}
        for table, geo_here in map(_to_arrow, chunks):
            if writer is None:
                # fiboa has milliseconds only. A stored Arrow schema would hide the metadata that is added at the end.
                how = {"compression": "zstd", "coerce_timestamps": "ms", "store_schema": False}
                writer, geo = stack.enter_context(pq.ParquetWriter(hidden, table.schema, **how)), geo_here
            writer.write_table(table, row_group_size=max(len(table), 1))
            _widen(geo, geo_here)
        assert writer is not None, "a table has at least one chunk"
        writer.add_key_value_metadata({"geo": json.dumps(geo), "fiboa": json.dumps(FIBOA)})
    pa.default_memory_pool().release_unused()  # Arrow keeps a hundred megabytes for a next table


def _to_arrow(frame: GeoDataFrame) -> tuple[pa.Table, dict[str, Any]]:
    """A frame as geopandas writes it, and its metadata of the geometry."""
    buffer = BytesIO()
    frame.to_parquet(buffer, index=False, schema_version="1.1.0", write_covering_bbox=True, compression=None)
    table = pq.read_table(buffer)
    return table.replace_schema_metadata(None), json.loads(table.schema.metadata[b"geo"])


def _widen(geo: dict[str, Any], other: dict[str, Any]) -> None:
    """Extend the metadata of the geometry to another chunk."""
    column, more = (each["columns"][each["primary_column"]] for each in (geo, other))
    column["geometry_types"] = sorted({*column["geometry_types"], *more["geometry_types"]})
    if "bbox" in column and "bbox" in more:
        corners = zip(column["bbox"], more["bbox"], (min, min, max, max), strict=True)
        column["bbox"] = [outer(a, b) for a, b, outer in corners]


def write_geopackage(chunks: Iterable[GeoDataFrame], out: Path, *, layer: str = "parcels") -> None:
    """Write a table as the only layer of a GeoPackage, with a spatial index.

    chunks: at least one, of the same columns. Raises `OutputError` where `out` cannot be written.
    Source: OGC 12-128r19, 2024.
    """
    with replacing(out) as hidden:
        _write_layer(chunks, hidden, driver="GPKG", layer=layer)


def write_geojson(chunks: Iterable[GeoDataFrame], out: Path) -> None:
    """Write parcels as GeoJSON in EPSG:4326, seven decimals, shells counterclockwise, cut at the 180th meridian.

    chunks: at least one, of the same columns. Raises `GridError` without a CRS, `OutputError` where `out` cannot be
    written. Source: Butler et al., The GeoJSON Format, RFC 7946, 2016.
    """
    chunks = iter(chunks)
    first = next(chunks)
    if first.crs is None:
        raise GridError("GeoJSON is in longitude and latitude, and these parcels have no CRS; write .gpkg or .parquet")
    options = {"RFC7946": "YES", "COORDINATE_PRECISION": "7"}
    with replacing(out) as hidden:
        _write_layer(chain([first], chunks), hidden, driver="GeoJSON", layer=out.stem, **options)


def _write_layer(chunks: Iterable[GeoDataFrame], out: Path, *, driver: str, layer: str, **options: str) -> None:
    """Write a table, chunk by chunk, with a driver of GDAL."""
    chunks = iter(chunks)
    first = next(chunks)
    tables = (pa.table(frame.to_arrow(index=False)) for frame in chain([first], chunks))
    head = next(tables)
    batches = (batch for table in chain([head], tables) for batch in table.to_batches())
    pyogrio.write_arrow(
        pa.RecordBatchReader.from_batches(head.schema, batches),
        out,
        layer=layer,
        driver=driver,
        geometry_name=first.geometry.name,
        geometry_type=first.geom_type.iloc[0] if first.geom_type.nunique() == 1 else "Unknown",
        crs=first.crs and first.crs.to_wkt(),
        **options,
    )
