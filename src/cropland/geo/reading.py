"""Image files, local or remote: their headers, and their numbers in windows.

A thread keeps the files open that it read last, so that windows come from GDAL's block cache.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.client import BadStatusLine, HTTPException, IncompleteRead
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import Request, urlopen

import numpy as np
import rasterio
from affine import Affine
from jaxtyping import Bool, Int64, Num
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as FileWindow

from cropland.errors import ReadError, SceneError
from cropland.geo.window import Window
from cropland.language import Message

__all__ = [
    "SECONDS",
    "BandHeader",
    "ImageFile",
    "ImageHeader",
    "Layer",
    "Remote",
    "at_first_look",
    "dataset",
    "fetch",
    "folder_name",
    "identity",
    "image_file",
    "observed_in",
    "parse_time",
    "read_header",
    "read_layers",
    "read_mask",
    "reading",
    "representable",
    "sampled",
]

KEPT = 32  # open files per thread: all bands of a scene, a few scenes
WAITS = (0.5, 2.0)  # seconds before a file that failed is opened anew: a copy goes on, a server comes back
BUSY = (408, 429, 500, 502, 503, 504)  # HTTP statuses that pass
BROKEN = (ConnectionError, TimeoutError, IncompleteRead, BadStatusLine, ssl.SSLEOFError)  # off, on the way
AWAY = (socket.EAI_AGAIN, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH)  # the network, for a while
SECONDS = 30  # without a byte, after which a server is taken as gone
COLUMNS_AT_ONCE = 4096  # of a decimated read without overviews
# Tags that hold a time: that of the acquisition before that of the file, which may have been written much later.
TIME_TAGS = ("ACQUISITIONDATETIME", "TIFFTAG_DATETIME")

# Variables of the process, since rasterio's options reach only the thread that sets them, and threads of any library
# read here, also what was opened elsewhere; whoever sets a variable knows better.
GDAL = {
    "GDAL_CACHEMAX": "96",  # MB of decoded blocks, instead of 5 % of the machine's memory
    "GDAL_HTTP_MAX_RETRY": "3",  # where the server says that it is busy; what breaks off, `read_file` asks for again
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_LOW_SPEED_TIME": str(SECONDS),
}
os.environ.update({name: value for name, value in GDAL.items() if name not in os.environ})
AT_OPEN = {  # of a remote file: few requests, and what came is forgotten when it is closed, or half a block stays half
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/",
}

Found = TypeVar("Found")

_local = threading.local()
_filters = threading.Lock()  # warning filters belong to the process, not to the thread


@dataclass(frozen=True)
class Remote:
    """An image by its address, with the names of a `Path`: `https://...`, `s3://...`, or a path as `/vsizip/...`."""

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        return self._path.name or self.address

    @property
    def stem(self) -> str:
        return self._path.stem or self.address

    @property
    def suffix(self) -> str:
        return self._path.suffix

    @property
    def gdal(self) -> str:
        """The path by which GDAL opens it."""
        return f"/vsicurl/{self.address}" if self.is_http else self.address

    @property
    def is_http(self) -> bool:
        return self.address.startswith(("http://", "https://"))

    def beside(self, reference: str) -> str:
        """The address of a reference that is relative to this file."""
        return urljoin(self.address, reference)

    @property
    def _path(self) -> PurePosixPath:
        return PurePosixPath(unquote(urlsplit(self.address).path) if self.is_http else self.address)


ImageFile = Path | Remote

_given_up: set[ImageFile] = set()  # files that failed after all waits: their other windows fail without any


def image_file(given: str | os.PathLike[str] | Remote) -> ImageFile:
    """A local file, or a remote one where the text is an address."""
    if isinstance(given, Remote):
        return given
    text = os.fspath(given).removeprefix("/vsicurl/")
    return Remote(text) if "://" in text or text.startswith("/vsi") else Path(given)


def folder_name(file: ImageFile) -> str:
    """The name of the folder that holds the file; of an address, the last part before the name."""
    return file._path.parent.name if isinstance(file, Remote) else file.absolute().parent.name


def identity(file: ImageFile) -> tuple[str | int, ...]:
    """A value that changes when the file is replaced: its size and time; of a remote file what its server reports.

    The server reports length, ETag and time of change; for addresses other than HTTP nothing is known.
    Raises `SceneError` where no server answers, `OSError` where there is no file.
    """
    if isinstance(file, Path):
        state = file.stat()
        return os.fspath(file), state.st_mtime_ns, state.st_size
    if not file.is_http:
        return (file.address,)
    # Not HEAD: an address that is signed for GET refuses it.
    headers = _answer(file, {"Range": "bytes=0-0"}, lambda answer: answer.headers)
    size = (headers["Content-Range"] or "").rpartition("/")[2] or headers["Content-Length"] or ""
    return file.address, int(size) if size.isdigit() else "", headers["ETag"] or "", headers["Last-Modified"] or ""


def fetch(file: Remote) -> bytes:
    """The content of a small file. Raises `SceneError` where no server gives it."""
    content: bytes = _answer(file, {}, lambda answer: answer.read())
    return content


def _answer(file: Remote, headers: dict[str, str], read: Callable[[Any], Found]) -> Found:
    """What `read` gets from the answer of a server; after a temporary failure it is asked again."""

    def ask() -> Found:
        with urlopen(Request(file.address, headers=headers), timeout=SECONDS) as answer:
            return read(answer)

    try:
        return _patiently(ask)
    except (OSError, ValueError, HTTPException) as error:
        raise SceneError(
            "{path} cannot be reached ({cause}); check the address and whether the server is running",
            path=file,
            cause=" ".join(str(error).split()) or type(error).__name__,
        ) from error


def _patiently(ask: Callable[[], Found]) -> Found:
    """What `ask` returns; it is called again, after a wait, as long as its failure may pass."""
    waits = iter(WAITS)
    while True:
        try:
            return ask()
        except Exception as error:
            wait = next(waits, None) if _passes(error) else None
            if wait is None:
                raise
            time.sleep(wait)


def _passes(error: Exception) -> bool:
    """Whether the same question may be answered later: the server is busy, or the connection broke."""
    if isinstance(error, HTTPError):
        return error.code in BUSY
    if isinstance(error, SceneError):  # an address that GDAL could not open, and which has asked a busy server again
        return isinstance(error.__cause__, RasterioError) and "CURL error" in _cause(error.__cause__)
    cause = error.reason if isinstance(error, URLError) else error
    return isinstance(cause, BROKEN) or (isinstance(cause, OSError) and cause.errno in AWAY)


@dataclass(frozen=True, eq=False)
class BandHeader:
    """A band as its file describes it.

    label: description, or for a file of one band the file's name, or "". color: GDAL's colour interpretation.
    step: declared offset over declared scale, in numbers of the file. tags: of the file and the band.
    """

    path: ImageFile
    index: int
    dtype: str
    shape: tuple[int, int]
    nodata: float | None
    label: str
    color: str
    step: float
    tags: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """An image file as it describes itself: its grid, its bands in its own order, and how it marks no data.

    crs: as WKT. edges: of a pixel, in units of the coordinates. has_mask: a mask band, which an alpha band is not.
    is_lossy: its compression changes values a little. rpc, gcps: what a raw delivery has in place of a grid.
    """

    path: ImageFile
    shape: tuple[int, int]
    transform: Affine
    edges: tuple[float, float]
    crs: str | None
    bands: tuple[BandHeader, ...]
    has_mask: bool
    is_lossy: bool
    rpc: Mapping[str, str]
    gcps: tuple[Sequence[GroundControlPoint], CRS | None]


def read_header(path: ImageFile) -> ImageHeader:
    """Read the whole header of a file.

    Raises `SceneError` for a file that is no image of real numbers.
    """
    with reading(path) as file:
        if not file.count:
            raise SceneError(
                "{path} holds no bands of its own; give one of {subdatasets}",
                path=path,
                subdatasets=" ".join(file.subdatasets[:4]),
            )
        if any("complex" in dtype for dtype in file.dtypes):
            raise SceneError(
                "{path} holds complex numbers (radar?); give optical imagery of integers or floats", path=path
            )
        tags = {**file.tags(), **file.tags(ns="IMAGERY")}
        mask, colors = file.mask_flag_enums[0], _colors(file)
        return ImageHeader(
            path=path,
            shape=file.shape,
            transform=file.transform,
            edges=file.res,
            crs=file.crs.to_wkt() if file.crs else None,
            bands=tuple(_band_header(path, file, index, colors[index - 1], tags) for index in file.indexes),
            has_mask=MaskFlags.per_dataset in mask and MaskFlags.alpha not in mask,
            is_lossy=_is_lossy(file.tags(ns="IMAGE_STRUCTURE")),
            rpc=file.tags(ns="RPC"),
            gcps=file.gcps,
        )


def _is_lossy(structure: Mapping[str, str]) -> bool:
    """By GDAL's own words: rasterio's enumeration lacks many compressions. "YCbCr JPEG" is one too."""
    reversible = structure.get("COMPRESSION_REVERSIBILITY")
    return reversible == "LOSSY" or structure.get("COMPRESSION", "").endswith("JPEG")


def _colors(file: DatasetReader) -> list[str]:
    """The colour interpretation of each band; undefined where one is reserved, which rasterio's enumeration lacks."""
    try:
        return [color.name for color in file.colorinterp]
    except ValueError:
        return ["undefined"] * file.count


def _band_header(path: ImageFile, file: DatasetReader, index: int, color: str, tags: Mapping[str, str]) -> BandHeader:
    place = index - 1
    scale, offset = file.scales[place], file.offsets[place]
    return BandHeader(
        path=path,
        index=index,
        dtype=file.dtypes[place],
        shape=file.shape,
        nodata=representable(file.nodatavals[place], file.dtypes[place]),
        label=file.descriptions[place] or (path.stem if file.count == 1 else ""),
        color=color,
        step=offset / scale if scale else 0.0,
        tags={**tags, **file.tags(index)},
    )


def representable(nodata: float | None, dtype: str) -> float | None:
    """A no-data value; None where no pixel of that type can hold it (-9999 in a uint8 file), and for NaN."""
    if nodata is None or np.isnan(nodata):
        return None
    if np.issubdtype(np.dtype(dtype), np.integer):
        limits = np.iinfo(dtype)
        return nodata if limits.min <= nodata <= limits.max and nodata == int(nodata) else None
    return nodata


def observed_in(tags: Mapping[str, str]) -> datetime | None:
    """The time in the tags of a file, UTC. Source: GDAL's IMAGERY domain; TIFF 6.0, DateTime."""
    return next((time for tag in TIME_TAGS if (time := parse_time(tags.get(tag))) is not None), None)


def parse_time(text: str | None) -> datetime | None:
    """2024-05-01T10:20:30Z or 2024:05:01 10:20:30, UTC where no zone is named; None for anything else."""
    date, _, rest = (text or "").strip().replace(" ", "T", 1).partition("T")
    try:
        time = datetime.fromisoformat(f"{date.replace(':', '-')}T{rest or '00:00'}")
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


@dataclass(frozen=True)
class Layer:
    """One band of one file: its index (counted from 1), type, no-data value, and what is added to its numbers."""

    path: ImageFile
    index: int
    dtype: str
    nodata: float | None = None
    added: float = 0.0

    @property
    def is_float(self) -> bool:
        return np.issubdtype(np.dtype(self.dtype), np.floating)


def read_layers(
    layers: Sequence[Layer], window: Window, *, shape: tuple[int, int] | None = None
) -> Num[np.ndarray, "layer height width"]:
    """The numbers as they stand in the files; with `shape`, the window decimated to it (from overviews if there are).

    Raises `ReadError` for a window that cannot be read, also when it is asked for again.
    """
    places: dict[ImageFile, list[int]] = {}
    for place, layer in enumerate(layers):
        places.setdefault(layer.path, []).append(place)
    blocks = {path: _read(path, [layers[i].index for i in own], window, shape) for path, own in places.items()}
    if len(blocks) == 1:
        return next(iter(blocks.values()))
    out = np.empty((len(layers), *(shape or window.shape)), np.result_type(*(b.dtype for b in blocks.values())))
    for path, own in places.items():
        out[own] = blocks[path]
    return out


def read_mask(
    path: ImageFile, window: Window, *, shape: tuple[int, int] | None = None
) -> Bool[np.ndarray, "height width"]:
    """Where a file has data, by its mask band."""
    place = window.in_file
    mask: np.ndarray = read_file(path, window, lambda file: file.read_masks(1, window=place, out_shape=shape))
    return mask > 0


def _read(path: ImageFile, indexes: list[int], window: Window, shape: tuple[int, int] | None) -> np.ndarray:
    def read(file: DatasetReader) -> np.ndarray:
        if shape is None or file.overviews(indexes[0]) or shape == window.shape:
            out_shape = None if shape is None else (len(indexes), *shape)
            values: np.ndarray = file.read(indexes, window=window.in_file, out_shape=out_shape)
            return values
        return _at_distances(file, indexes, window, shape)

    found: np.ndarray = read_file(path, window, read)
    return found


def _at_distances(file: DatasetReader, indexes: list[int], window: Window, shape: tuple[int, int]) -> np.ndarray:
    """The pixels that GDAL's own decimated read gives of a window, read a few blocks wide at a time.

    GDAL goes row by row over the whole width: where its cache does not hold a row of blocks, every block is decoded as
    often as it has rows.
    """
    rows, cols = (sampled(*span) for span in zip(window[:2], window[2:], shape, strict=True))
    wide = file.block_shapes[indexes[0] - 1][1]
    wide *= max(1, COLUMNS_AT_ONCE // wide)
    out = np.empty((len(indexes), *shape), np.result_type(*(file.dtypes[index - 1] for index in indexes)))
    for start in range(window.col // wide * wide, window.col + window.width, wide):
        taken = (cols >= start) & (cols < start + wide)
        if not taken.any():
            continue
        first, last = int(cols[taken][0]), int(cols[taken][-1])
        for place, row in enumerate(rows):
            line = file.read(indexes, window=FileWindow(first, int(row), last + 1 - first, 1))
            out[:, place, taken] = line[:, 0, cols[taken] - first]
    return out


def sampled(start: int, length: int, count: int) -> Int64[np.ndarray, " place"]:
    """The rows (or columns) that a decimated read to `count` of them takes."""
    return start + (np.arange(count) * 2 + 1) * length // (2 * count)


def dataset(path: ImageFile) -> DatasetReader:
    """The file opened for reading by this thread; it stays open until other files have taken its place.

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
    """The file of `dataset`, while errors of GDAL become a `SceneError` with its own words on one line.

    An address whose connection breaks is opened again, after a wait.
    """
    try:
        yield _patiently(partial(dataset, path))
    except (RasterioError, UnicodeDecodeError) as error:
        raise _damaged(path, _cause(error)) from error


def read_file(path: ImageFile, window: Window, read: Callable[[DatasetReader], Found]) -> Found:
    """What `read` gets from the file for a window; where it fails, the file is opened anew and read again.

    Raises `ReadError` when every attempt has failed.
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
    """While a scene is opened: what cannot be read is no usable scene, a `SceneError` in place of `ReadError`."""
    try:
        yield
    except ReadError as error:
        raise _damaged(error.path, error.cause) from error


def _damaged(path: object, cause: str) -> SceneError:
    if isinstance(path, Remote):
        return SceneError(
            "{path} cannot be read ({cause}); check that the server is running and the file complete",
            path=path,
            cause=cause,
        )
    return SceneError("{path} is damaged or cut off ({cause}); copy or download it again", path=path, cause=cause)


def _unread(path: ImageFile, window: Window, cause: str) -> ReadError:
    row, col, height, width = window
    return ReadError(
        "{path} cannot be read in rows {row} to {last_row}, columns {col} to {last_col} ({cause}); "
        "restore the file or its server, and give the same command again",
        path=path,
        window=window,
        cause=cause,
        row=row,
        last_row=row + height - 1,
        col=col,
        last_col=col + width - 1,
    )


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
    """The key of an open file: a file that was replaced has another one."""
    if isinstance(path, Remote):
        return (path.address,)  # its server is not asked again for every window
    try:
        return identity(path)
    except FileNotFoundError as error:
        raise SceneError("{path} is not there; give the path of an image", path=path) from error
    except OSError as error:
        raise SceneError(
            "{path} cannot be read: {strerror}; give the path of an image", path=path, strerror=error.strerror
        ) from error


def _open(path: ImageFile) -> DatasetReader:
    if isinstance(path, Remote):
        try:
            with rasterio.Env(**AT_OPEN):
                return _opened(path.gdal)
        except RasterioError as error:
            raise _damaged(path, _cause(error)) from error
    if path.is_dir():
        raise SceneError("{path} is a folder, not an image; give the files in it", path=path)
    try:
        return _opened(path)
    except RasterioError as error:
        raise SceneError("{path} {what}", path=path, what=_seems(path, str(error))) from error


def _opened(path: str | os.PathLike[str]) -> DatasetReader:
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)


def _seems(path: Path, said: str) -> Message:
    """What a file that GDAL cannot open seems to be, by its first bytes and by what GDAL said."""
    if "missing codec" in said:
        return Message("has a compression that GDAL cannot read here; write it again with DEFLATE")
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if not start:
        return Message("is empty; copy or download it again")
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return Message("is a web page, not an image: the download went wrong; download it again")
    if start.startswith((b"ii*\0", b"mm\0*", b"ii+\0", b"mm\0+", b"\x89png", b"\xff\xd8\xff", b"\0\0\0\x0cjp")):
        return Message("is damaged or cut off; copy or download it again")
    return Message("is not an image that GDAL can read; give a GeoTIFF, VRT, JP2, ERDAS .img, ENVI, PNG or JPEG")
