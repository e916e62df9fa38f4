"""The shelf of writers: one output format per file; how all of them put a file in its place, and tables into GDAL."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyogrio
from geopandas import GeoDataFrame
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
from rasterio.errors import RasterioError

from cropland import files
from cropland.errors import OutputError


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A path beside `out` to write to, renamed to `out` at the end; after an error it is gone and `out` is as before.

    Missing parent folders are made. Raises `OutputError` where the place cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(out) as hidden:
            yield hidden
    except (OSError, RasterioError, DataLayerError, DataSourceError, FeatureError) as error:
        raise OutputError(
            "{out} cannot be written ({error}); choose another place or make room", out=out, error=error
        ) from error


def write_layer(chunks: Iterable[GeoDataFrame], out: Path, *, driver: str, layer: str, **options: str) -> None:
    """Write a table, chunk by chunk, with a driver of GDAL; all have the columns of the first."""
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
