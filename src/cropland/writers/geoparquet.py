"""GeoParquet: parcels as columns, for analysis at any size."""

import json
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
from geopandas import GeoDataFrame

from cropland.writers import replacing

__all__ = ["write_geoparquet"]

FIBOA = {"fiboa_version": "0.2.0", "fiboa_extensions": []}


def write_geoparquet(frame: GeoDataFrame, out: Path) -> None:
    """Write parcels as GeoParquet 1.1 with bounding boxes per row and the file metadata of fiboa 0.2.

    Raises `OutputError` where `out` cannot be written.
    Source: geoparquet.org, version 1.1.0; github.com/fiboa/specification, version 0.2.0.
    """
    buffer = BytesIO()
    frame.to_parquet(buffer, index=False, schema_version="1.1.0", write_covering_bbox=True)
    table = pq.read_table(buffer)
    metadata = {**table.schema.metadata, b"fiboa": json.dumps(FIBOA).encode()}
    with replacing(out) as hidden:
        # fiboa knows milliseconds only.
        pq.write_table(table.replace_schema_metadata(metadata), hidden, compression="zstd", coerce_timestamps="ms")
