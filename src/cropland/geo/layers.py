"""Layers: single bands of files, read together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, Num
from rasterio.io import DatasetReader
from rasterio.windows import Window as FileWindow

from cropland.geo.datasets import read_file
from cropland.geo.remote import ImageFile
from cropland.geo.tiles import Window

__all__ = ["Layer", "read_layers", "read_mask", "sampled"]

AT_ONCE = 4096  # columns


@dataclass(frozen=True)
class Layer:
    """One band of one file: its place (counted from 1), type, no-data value, and what is added to its numbers."""

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
    """Where the mask band of a file says that there are data."""
    place = _file_window(window)
    mask: np.ndarray = read_file(path, window, lambda file: file.read_masks(1, window=place, out_shape=shape))
    return mask > 0


def _read(path: ImageFile, indexes: list[int], window: Window, shape: tuple[int, int] | None) -> np.ndarray:
    def read(file: DatasetReader) -> np.ndarray:
        if shape is None or file.overviews(indexes[0]) or shape == window.shape:
            out_shape = None if shape is None else (len(indexes), *shape)
            values: np.ndarray = file.read(indexes, window=_file_window(window), out_shape=out_shape)
            return values
        return _at_distances(file, indexes, window, shape)

    found: np.ndarray = read_file(path, window, read)
    return found


def _at_distances(file: DatasetReader, indexes: list[int], window: Window, shape: tuple[int, int]) -> np.ndarray:
    """The pixels that GDAL shows of a decimated window, a few blocks wide at a time.

    GDAL goes row by row over the whole width: where its cache does not hold a row of blocks, every block is decoded as
    often as it has rows.
    """
    rows, cols = (sampled(*span) for span in zip(window[:2], window[2:], shape, strict=True))
    wide = file.block_shapes[indexes[0] - 1][1]
    wide *= max(1, AT_ONCE // wide)
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
    """Rows (or columns) that a decimated read of `count` of them shows."""
    return start + (np.arange(count) * 2 + 1) * length // (2 * count)


def _file_window(window: Window) -> FileWindow:
    return FileWindow(window.col, window.row, window.width, window.height)
