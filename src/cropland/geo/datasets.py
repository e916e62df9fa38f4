"""Open raster files, kept per thread so that windowed reads use GDAL's block cache."""

import os
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from cropland.errors import ReadError, SceneError
from cropland.geo.remote import ImageFile, Remote, identity
from cropland.geo.tiles import Window
from cropland.language import _

__all__ = ["at_first_look", "dataset", "read_file", "reading"]

KEPT = 32  # open files per thread: all bands of a scene, a few scenes
WAITS = (0.5, 2.0)  # seconds before a file that failed is opened anew: a copy goes on, a server comes back
AT_OPEN = {  # of a remote file: few requests, and what came is forgotten when it is closed, or half a block stays half
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/",
}

Found = TypeVar("Found")

# MB of decoded blocks, instead of 5 % of the machine's memory; whoever sets the variable knows better.
os.environ.setdefault("GDAL_CACHEMAX", "96")

_local = threading.local()
_filters = threading.Lock()  # warning filters belong to the process, not to the thread
_given_up: set[ImageFile] = set()  # files that failed after all waits: their other windows fail without any


def dataset(path: ImageFile) -> DatasetReader:
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
def reading(path: ImageFile) -> Iterator[DatasetReader]:
    """The file of `dataset`, while errors of GDAL become a `SceneError` with its own words on one line."""
    try:
        yield dataset(path)
    except (RasterioError, UnicodeDecodeError) as error:
        raise _damaged(path, _cause(error)) from error


def read_file(path: ImageFile, window: Window, read: Callable[[DatasetReader], Found]) -> Found:
    """What `read` gets from the file for a window; where it fails, the file is opened anew and asked again.

    Raises `ReadError` when all of that was in vain.
    """
    waits = iter(() if path in _given_up else WAITS)
    while True:
        try:
            found = read(dataset(path))
        except (RasterioError, UnicodeDecodeError, SceneError) as error:
            _close(path)  # a handle may be spoilt
            wait = next(waits, None)
            if wait is None:
                _given_up.add(path)
                raise _unread(path, window, _cause(error)) from error
            time.sleep(wait)
        else:
            _given_up.discard(path)
            return found


@contextmanager
def at_first_look() -> Iterator[None]:
    """Before any work is done, what cannot be read is no usable scene: `SceneError` in place of `ReadError`."""
    try:
        yield
    except ReadError as error:
        raise _damaged(error.path, error.cause) from error


def _damaged(path: object, cause: str) -> SceneError:
    if isinstance(path, Remote):
        return SceneError(
            _(
                "{path} cannot be read ({cause}); see that the server is there and the file whole",
                path=path,
                cause=cause,
            )
        )
    return SceneError(_("{path} is damaged or cut off ({cause}); copy or download it again", path=path, cause=cause))


def _unread(path: ImageFile, window: Window, cause: str) -> ReadError:
    row, col, height, width = window
    message = _(
        "{path} cannot be read in rows {row} to {last_row}, columns {col} to {last_col} ({cause}); "
        "make it whole or its server reachable and give the same command again",
        path=path,
        row=row,
        last_row=row + height - 1,
        col=col,
        last_col=col + width - 1,
        cause=cause,
    )
    return ReadError(message, path, window, cause)


def _cause(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split())


def _close(path: ImageFile) -> None:
    kept = _kept()
    for key in [key for key in kept if key[0] == str(path)]:
        kept.pop(key).close()


def _kept() -> OrderedDict[tuple[object, ...], DatasetReader]:
    # A fork would share the file offsets of its parent's handles.
    if getattr(_local, "process", None) != os.getpid():
        _local.process, _local.kept = os.getpid(), OrderedDict()
    kept: OrderedDict[tuple[object, ...], DatasetReader] = _local.kept
    return kept


def _key(path: ImageFile) -> tuple[object, ...]:
    """A file that was replaced is another file."""
    if isinstance(path, Remote):
        return (path.address,)  # its server is not asked again for every window
    try:
        return identity(path)
    except FileNotFoundError as error:
        raise SceneError(_("{path} is not there; give the path of an image", path=path)) from error
    except OSError as error:
        raise SceneError(
            _("{path} cannot be read: {strerror}; give the path of an image", path=path, strerror=error.strerror)
        ) from error


def _open(path: ImageFile) -> DatasetReader:
    if isinstance(path, Remote):
        return _open_remote(path)
    if path.is_dir():
        raise SceneError(_("{path} is a folder, not an image; give the files in it", path=path))
    try:
        return _opened(path)
    except RasterioError as error:
        raise SceneError(f"{path} {_what(path)}") from error


def _open_remote(path: Remote) -> DatasetReader:
    try:
        with rasterio.Env(**AT_OPEN):
            return _opened(path.gdal)
    except RasterioError as error:
        raise _damaged(path, _cause(error)) from error


def _opened(path: str | os.PathLike[str]) -> DatasetReader:
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)


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
