"""The shelf of writers, each of which replaces a file completely or raises `OutputError`."""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
from rasterio.errors import RasterioError

from cropland import files
from cropland.errors import OutputError


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A path beside `out` to write to, renamed to `out` at the end; after an error it is removed and `out` unchanged.

    Missing parent folders are made. Raises `OutputError` where `out` cannot be written.
    """
    with _writing(out), files.replacing(out) as hidden:
        yield hidden


@contextmanager
def replacing_all(out: Path, *, suffixes: Sequence[str] = ()) -> Iterator[Path]:
    """The same for a format of several files, or a folder: all that is written beside the path takes its place at once.

    suffixes: of files beside `out` that are of it too, and go where no new one takes their place.
    """
    with _writing(out), TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}-") as folder:
        yield Path(folder) / out.name
        made = {path.name for path in Path(folder).iterdir()}
        for suffix in suffixes:
            if (old := out.with_suffix(suffix)).name not in made:
                old.unlink(missing_ok=True)
        for name in sorted(made, key=lambda each: each == out.name):  # the file that is opened by its name comes last
            old = out.with_name(name)
            if old.is_dir():
                shutil.rmtree(old)
            (Path(folder) / name).replace(old)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Make missing parent folders; what goes wrong within is an `OutputError`."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, RasterioError, DataLayerError, DataSourceError, FeatureError, sqlite3.Error) as error:
        raise OutputError(
            "{out} cannot be written ({error}); choose another place or free some disk space", out=out, error=error
        ) from error
