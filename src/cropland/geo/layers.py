"""Layers: single bands of files, read together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Num
from rasterio.windows import Window as FileWindow

from cropland.geo.datasets import read_file
from cropland.geo.remote import ImageFile
from cropland.geo.tiles import Window

__all__ = ["Layer", "read_layers", "read_mask"]


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
    out_shape = None if shape is None else (len(indexes), *shape)
    place = _file_window(window)
    values: np.ndarray = read_file(path, window, lambda file: file.read(indexes, window=place, out_shape=out_shape))
    return values


def _file_window(window: Window) -> FileWindow:
    return FileWindow(window.col, window.row, window.width, window.height)
