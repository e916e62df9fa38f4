"""Open raster files, kept per thread so that windowed reads use GDAL's block cache."""

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from cropland.errors import SceneError
from cropland.language import _

__all__ = ["dataset", "reading"]

KEPT = 32  # open files per thread: all bands of a scene, a few scenes

# MB of decoded blocks, instead of 5 % of the machine's memory; whoever sets the variable knows better.
os.environ.setdefault("GDAL_CACHEMAX", "256")

_local = threading.local()
_filters = threading.Lock()  # warning filters belong to the process, not to the thread


def dataset(path: Path) -> DatasetReader:
    """The file opened for reading by this thread; it stays open until others have pushed it out.

    Raises `SceneError` when it is missing, is not an image, or cannot be opened.
    """
    kept = _kept()
    key = _key(path)
    if key not in kept:
        kept[key] = _open(path)
    kept.move_to_end(key)
    while len(kept) > KEPT:
        kept.popitem(last=False)[1].close()
    return kept[key]


@contextmanager
def reading(path: Path) -> Iterator[DatasetReader]:
    """The file of `dataset`, while errors of GDAL become a `SceneError` with its own words on one line."""
    try:
        yield dataset(path)
    except (RasterioError, UnicodeDecodeError) as error:
        cause = " ".join(str(error.__cause__ or error).split())
        raise SceneError(
            _("{path} is damaged or cut off ({cause}); copy or download it again", path=path, cause=cause)
        ) from error


def _kept() -> OrderedDict[tuple[object, ...], DatasetReader]:
    # A fork would share the file offsets of its parent's handles.
    if getattr(_local, "process", None) != os.getpid():
        _local.process, _local.kept = os.getpid(), OrderedDict()
    kept: OrderedDict[tuple[object, ...], DatasetReader] = _local.kept
    return kept


def _key(path: Path) -> tuple[object, ...]:
    """A file that was replaced is another file."""
    try:
        state = path.stat()
    except FileNotFoundError as error:
        raise SceneError(_("{path} is not there; give the path of an image", path=path)) from error
    except OSError as error:
        raise SceneError(
            _("{path} cannot be read: {strerror}; give the path of an image", path=path, strerror=error.strerror)
        ) from error
    return os.fspath(path), state.st_mtime_ns, state.st_size


def _open(path: Path) -> DatasetReader:
    if path.is_dir():
        raise SceneError(_("{path} is a folder, not an image; give the files in it", path=path))
    try:
        with _filters, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path)
    except RasterioError as error:
        raise SceneError(f"{path} {_what(path)}") from error


def _what(path: Path) -> str:
    """What a file that GDAL cannot open seems to be."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if not start:
        return _("is empty; copy or download it again")
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return _("is a web page, not an image: the download went wrong; download it again")
    if start.startswith((b"ii*\0", b"mm\0*", b"ii+\0", b"mm\0+", b"\x89png", b"\xff\xd8\xff", b"\0\0\0\x0cjp")):
        return _("is damaged or cut off; copy or download it again")
    return _("is not an image that GDAL can read; give a GeoTIFF, VRT, JP2, ERDAS .img, ENVI, PNG or JPEG")
