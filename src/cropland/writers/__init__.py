"""The shelf of writers: one output format per file, and how all of them put a file in its place."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
from rasterio.errors import RasterioError

from cropland.errors import OutputError
from cropland.language import _


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A path beside `out` to write to, renamed to `out` at the end; after an error it is gone and `out` is as before.

    Missing parent folders are made. Raises `OutputError` where the place cannot be written.
    """
    # The suffix stays last: drivers look at it.
    hidden = out.with_name(f".{out.stem}.partial{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield hidden
            hidden.replace(out)
        finally:
            hidden.unlink(missing_ok=True)
    except (OSError, RasterioError, DataLayerError, DataSourceError, FeatureError) as error:
        raise OutputError(
            _("{out} cannot be written ({error}); choose another place or make room", out=out, error=error)
        ) from error
