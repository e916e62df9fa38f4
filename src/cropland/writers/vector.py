"""Parcels in three formats, chunk by chunk: GeoParquet for analysis, GeoPackage for QGIS, GeoJSON for the web."""

import json
import sqlite3
from collections.abc import Container, Iterable
from contextlib import ExitStack, closing
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

__all__ = ["add_layer_style", "write_geojson", "write_geopackage", "write_geoparquet", "write_with_gdal"]

COLLECTION = "cropland"
SCHEMAS = {
    COLLECTION: [
        "https://vecorel.org/specification/v0.1.0/schema.yaml",
        "https://fiboa.org/specification/v0.3.0/schema.yaml",
    ]
}
OURS = {
    "area_ha": "Area in hectares",
    "area_mu": "Area in mu, 15 to the hectare",
    "mean_probability": "Mean probability of cropland, 0 to 1",
}
REQUIRED = {"id", "geometry"}  # of every feature; what is not required may be missing, and is declared so
# The table of styles, to the letter as QGIS lets GDAL make it (QgsOgrProviderMetadata::saveStyle).
STYLES = """
    CREATE TABLE IF NOT EXISTS "layer_styles" (
        "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, "f_table_catalog" TEXT(256), "f_table_schema" TEXT(256),
        "f_table_name" TEXT(256), "f_geometry_column" TEXT(256), "styleName" TEXT(30), "styleQML" TEXT, "styleSLD" TEXT,
        "useAsDefault" BOOLEAN, "description" TEXT, "owner" TEXT(30), "ui" TEXT(30),
        "update_time" DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    )
"""


def write_geoparquet(chunks: Iterable[GeoDataFrame], out: Path, *, is_fiboa: bool = True) -> None:
    """Write a table as GeoParquet 1.1 with bounding boxes per row, and the file metadata of fiboa 0.3, if it has them.

    chunks: at least one, of the same columns, each a row group whose statistics hold its bounds: a reader of an area
    skips the others if neighbours are in one chunk. is_fiboa: the columns are those of parcels.
    Raises `OutputError` where `out` cannot be written.
    Source: geoparquet.org, version 1.1.0; fiboa.org/specification, version 0.3.0, with Vecorel 0.1.0.
    """
    required = REQUIRED if is_fiboa else {}
    about = {"collection": json.dumps(_collection())} if is_fiboa else {}
    with replacing(out) as hidden, ExitStack() as stack:
        writer, geo = None, {}
        for table, geo_here in (_to_arrow(chunk, required) for chunk in chunks):
            if writer is None:
                # fiboa has milliseconds only. A stored Arrow schema would hide the metadata that is added at the end.
                how = {"compression": "zstd", "coerce_timestamps": "ms", "store_schema": False}
                writer, geo = stack.enter_context(pq.ParquetWriter(hidden, table.schema, **how)), geo_here
            writer.write_table(table, row_group_size=max(len(table), 1))
            _widen(geo, geo_here)
        assert writer is not None, "a table has at least one chunk"
        writer.add_key_value_metadata({"geo": json.dumps(geo), **about})
    pa.default_memory_pool().release_unused()  # Arrow keeps a hundred megabytes for a next table


def _collection() -> dict[str, Any]:
    """What holds for all parcels, and the columns that fiboa does not know."""
    custom = {name: {"type": "float", "description": text} for name, text in OURS.items()}
    schema = {"$schema": "https://vecorel.org/sdl/v0.2.0/schema.json", "properties": custom}
    return {"schemas": SCHEMAS, "schemas:custom": schema, "collection": COLLECTION}


def _to_arrow(frame: GeoDataFrame, required: Container[str]) -> tuple[pa.Table, dict[str, Any]]:
    """A frame as geopandas writes it, and its metadata of the geometry. required: columns that miss nothing."""
    buffer = BytesIO()
    frame.to_parquet(buffer, index=False, schema_version="1.1.0", write_covering_bbox=True, compression=None)
    table = pq.read_table(buffer)
    fields = [field.with_nullable(field.name not in required) for field in table.schema]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields)), json.loads(table.schema.metadata[b"geo"])


def _widen(geo: dict[str, Any], other: dict[str, Any]) -> None:
    """Extend the metadata of the geometry to another chunk."""
    column, more = (each["columns"][each["primary_column"]] for each in (geo, other))
    column["geometry_types"] = sorted({*column["geometry_types"], *more["geometry_types"]})
    if "bbox" in column and "bbox" in more:
        corners = zip(column["bbox"], more["bbox"], (min, min, max, max), strict=True)
        column["bbox"] = [outer(a, b) for a, b, outer in corners]


def write_geopackage(
    chunks: Iterable[GeoDataFrame],
    out: Path,
    *,
    layer: str = "parcels",
    geometry_type: str | None = None,
    style: str | None = None,
    **options: str,
) -> None:
    """Write a table as the only layer of a GeoPackage, with a spatial index.

    chunks: at least one, of the same columns. geometry_type: that of the first chunk if not given. style: the content
    of a .qml, which is kept in the file, as `add_layer_style` does. options: of GDAL's driver.
    Raises `OutputError` where `out` cannot be written.
    Source: OGC 12-128r19, 2024.
    """
    with replacing(out) as hidden:
        write_with_gdal(chunks, hidden, driver="GPKG", layer=layer, geometry_type=geometry_type, **options)
        if style is not None:
            add_layer_style(hidden, layer, style, name=layer)


def add_layer_style(gpkg: Path, layer: str, qml: str, *, name: str) -> None:
    """Keep a style in a GeoPackage as the default of a layer, so that QGIS opens the layer in it without a project.

    qml: the content of a .qml. name: of the style, up to 30 letters. The table of styles is one more layer without
    geometry for programs other than QGIS.
    Raises `sqlite3.Error` where the file cannot be written.
    """
    with closing(sqlite3.connect(gpkg)) as file, file:
        file.execute(STYLES)
        file.execute("INSERT OR IGNORE INTO gpkg_contents(table_name, data_type) VALUES ('layer_styles', 'attributes')")
        file.execute("UPDATE layer_styles SET useAsDefault = 0 WHERE f_table_name = ?", (layer,))
        # QGIS looks for an empty schema and not for a missing one.
        file.execute(
            "INSERT INTO layer_styles"
            "(f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML, useAsDefault)"
            " SELECT '', '', table_name, column_name, ?, ?, 1 FROM gpkg_geometry_columns WHERE table_name = ?",
            (name, qml, layer),
        )


def write_geojson(chunks: Iterable[GeoDataFrame], out: Path) -> None:
    """Write parcels as GeoJSON in EPSG:4326, seven decimals, shells counterclockwise, cut at the 180th meridian.

    What is missing of all parcels of the first chunk has no property. chunks: at least one, of the same columns.
    Raises `GridError` without a CRS, `OutputError` where `out` cannot be written.
    Source: Butler et al., The GeoJSON Format, RFC 7946, 2016; fiboa.org/specification, version 0.3.0.
    """
    chunks = iter(chunks)
    first = next(chunks)
    if first.crs is None:
        raise GridError("GeoJSON is in longitude and latitude, and these parcels have no CRS; write .gpkg or .parquet")
    options = {"RFC7946": "YES", "COORDINATE_PRECISION": "7", "ID_FIELD": "id", "ID_TYPE": "String"}
    # Members of the collection itself, which GDAL takes over as if they had been read from another file.
    options |= {"NATIVE_MEDIA_TYPE": "application/vnd.geo+json"}
    options |= {"NATIVE_DATA": json.dumps({"type": "FeatureCollection", "schemas": SCHEMAS})}
    missing = [name for name in first.columns if len(first) and first[name].isna().all()]
    tables = (frame.drop(columns=missing).assign(collection=COLLECTION) for frame in chain([first], chunks))
    with replacing(out) as hidden:
        write_with_gdal(tables, hidden, driver="GeoJSON", layer=out.stem, **options)


def write_with_gdal(
    chunks: Iterable[GeoDataFrame],
    out: Path,
    *,
    driver: str,
    layer: str,
    geometry_type: str | None = None,
    encoding: str | None = None,
    **options: str,
) -> None:
    """Write a table, chunk by chunk, with a driver of GDAL, which takes the options.

    chunks: at least one, of the same columns. geometry_type: that of the first chunk if not given. encoding: of the
    text of a shapefile. Raises errors of pyogrio where `out` cannot be written.
    """
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
        geometry_type=geometry_type or (first.geom_type.iloc[0] if first.geom_type.nunique() == 1 else "Unknown"),
        crs=first.crs and first.crs.to_wkt(),
        encoding=encoding,
        **options,
    )
