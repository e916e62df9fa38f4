"""The shelf of writers, each of which replaces a file completely or raises `OutputError`."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
from rasterio.errors import RasterioError

from cropland import files
from cropland.errors import OutputError


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A path beside `out` to write to, renamed to `out` at the end; after an error it is removed and `out` unchanged.

    Missing parent folders are made. Raises `OutputError` where `out` cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(out) as hidden:
            yield hidden
    except (OSError, RasterioError, DataLayerError, DataSourceError, FeatureError, sqlite3.Error) as error:
        raise OutputError(
            "{out} cannot be written ({error}); choose another place or free some disk space", out=out, error=error
        ) from error
