"""Connected regions of a raster of any height, seen strip by strip."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import rasterio
from jaxtyping import Bool, Float64, Int32, Int64, UInt8
from rasterio.io import DatasetReader
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cropland.geo.tiles import Window

__all__ = [
    "CORNERS",
    "EDGES",
    "Classify",
    "Labelled",
    "RasterStrips",
    "Regions",
    "Strip",
    "find_regions",
    "label_strips",
    "read_rows",
    "strip_windows",
]

EDGES = ndimage.generate_binary_structure(2, 1)
CORNERS = ndimage.generate_binary_structure(2, 2)


class Strip(NamedTuple):
    """Rows of classes 0, 1 and 255; every strip but the first begins with the last row of the one above it."""

    window: Window
    classes: UInt8[np.ndarray, "height width"]

    @property
    def fresh(self) -> slice:
        """The rows that no strip above has."""
        return slice(min(self.window.row, 1), None)


class Labelled(NamedTuple):
    """A strip with the number of each pixel's region (0: none); `before` numbers were given in strips above."""

    strip: Strip
    labels: Int32[np.ndarray, "height width"]
    before: int

    def counted_on(self, labels: Int32[np.ndarray, "pixel"]) -> Int64[np.ndarray, "pixel"]:
        """The numbers of these labels in the whole raster."""
        return np.where(labels > 0, labels + np.int64(self.before), 0)


class Regions(NamedTuple):
    """The region of each label of the whole raster (0: none) and sums of each weight over each region."""

    of_label: Int64[np.ndarray, "label"]
    sums: Float64[np.ndarray, "weight region"]


Classify = Callable[[np.ndarray], UInt8[np.ndarray, "height width"]]


@dataclass(frozen=True)
class RasterStrips:
    """The strips of the first band of an open raster, `rows` new rows each, as often as they are asked for."""

    source: DatasetReader
    classify: Classify
    rows: int

    def __iter__(self) -> Iterator[Strip]:
        for window in strip_windows(self.source.shape, rows=self.rows):
            yield Strip(window, self.classify(read_rows(self.source, window)))


def read_rows(source: DatasetReader, window: Window) -> np.ndarray:
    """The first band in a window."""
    values: np.ndarray = source.read(
        1, window=rasterio.windows.Window(window.col, window.row, window.width, window.height)
    )
    return values


def strip_windows(shape: tuple[int, int], *, rows: int) -> list[Window]:
    """Windows of full width and `rows` new rows each, from top to bottom, that share a row with the one above."""
    height, width = shape
    spans = [(max(0, start - 1), min(start + rows, height)) for start in range(0, height, rows)]
    return [Window(top, 0, bottom - top, width) for top, bottom in spans]


def label_strips(
    strips: Iterable[Strip], member: Callable[[np.ndarray], Bool[np.ndarray, "height width"]], *, structure: np.ndarray
) -> Iterator[Labelled]:
    """Number the connected members of each strip."""
    before = 0
    for strip in strips:
        labels, count = ndimage.label(member(strip.classes), structure, output=np.int32)
        yield Labelled(strip, labels, before)
        before += count


def find_regions(
    labelled: Iterable[Labelled], weigh: Callable[[Strip], Sequence[Float64[np.ndarray, "height width"]]]
) -> Regions:
    """Join the labels that meet in shared rows, and sum the weights of each region's pixels.

    Memory is that of a strip and of some 30 bytes per label. Sums of whole numbers are exact below 2^53, whatever the
    strips.
    """
    sums, seams = [], [np.zeros((2, 0), np.int64)]
    above = None
    for part in labelled:
        top = part.counted_on(part.labels[0])
        if above is not None:
            seams.append(np.unique(np.stack([above, top])[:, top > 0], axis=1))
        above = part.counted_on(part.labels[-1])
        sums.append(_sums(part, weigh(part.strip)))
    return _joined(np.concatenate(sums, axis=1), np.concatenate(seams, axis=1))


def _sums(part: Labelled, weights: Sequence[np.ndarray]) -> Float64[np.ndarray, "weight label"]:
    fresh, size = part.strip.fresh, int(part.labels.max()) + 1
    labels = part.labels[fresh].ravel()
    return np.stack([np.bincount(labels, weight[fresh].ravel(), minlength=size)[1:] for weight in weights])


def _joined(sums: Float64[np.ndarray, "weight label"], seams: Int64[np.ndarray, "2 pair"]) -> Regions:
    size = sums.shape[1] + 1
    links = coo_array((np.ones(seams.shape[1], bool), (seams[0], seams[1])), shape=(size, size))
    # Label 0 is linked to none and comes first, so it is region 0; nothing is summed over it.
    count, of_label = connected_components(links, directed=False)
    return Regions(
        of_label.astype(np.int64), np.stack([np.bincount(of_label[1:], row, minlength=count) for row in sums])
    )
