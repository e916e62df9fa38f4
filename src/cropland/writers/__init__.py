"""The shelf of writers: how each of them puts a file in its place, or says why it cannot."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
            "{out} cannot be written ({error}); choose another place or free some disk space", out=out, error=error
        ) from error
