"""Connected regions of a raster of any height, seen strip by strip."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import rasterio
from jaxtyping import Int64, UInt8
from rasterio.io import DatasetReader
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cropland.geo.window import Window

__all__ = ["CORNERS", "EDGES", "Classify", "RasterStrips", "Strip", "connected", "read_window", "run_starts"]

EDGES = ndimage.generate_binary_structure(2, 1)
CORNERS = ndimage.generate_binary_structure(2, 2)


class Strip(NamedTuple):
    """Rows of classes 0, 1 and 255, of which the first `shared` are the last of the strip above."""

    window: Window
    classes: UInt8[np.ndarray, "height width"]
    shared: int


Classify = Callable[[np.ndarray], UInt8[np.ndarray, "height width"]]


@dataclass(frozen=True)
class RasterStrips:
    """The strips of the first band of an open raster, `rows` new rows each and the last of the one above."""

    source: DatasetReader
    classify: Classify
    rows: int

    def __iter__(self) -> Iterator[Strip]:
        height, width = self.source.shape
        last = np.zeros((0, width), np.uint8)
        for start in range(0, height, self.rows):
            fresh = Window(start, 0, min(self.rows, height - start), width)
            classes = np.concatenate([last, self.classify(read_window(self.source, fresh))])
            yield Strip(Window(start - len(last), 0, len(classes), width), classes, len(last))
            last = classes[-1:]


def read_window(source: DatasetReader, window: Window) -> np.ndarray:
    """The first band in a window."""
    values: np.ndarray = source.read(
        1, window=rasterio.windows.Window(window.col, window.row, window.width, window.height)
    )
    return values


def run_starts(values: np.ndarray) -> Int64[np.ndarray, "run"]:
    """Where runs of equal values begin, counted through the rows; each row begins one."""
    begins = np.ones(values.shape, bool)
    np.not_equal(values[:, 1:], values[:, :-1], out=begins[:, 1:])
    starts: np.ndarray = np.flatnonzero(begins)
    return starts


def connected(count: int, links: Int64[np.ndarray, "2 link"]) -> Int64[np.ndarray, "node"]:
    """The number of the component of each of `count` nodes, in the order of their first nodes."""
    graph = coo_array((np.ones(links.shape[1], bool), (links[0], links[1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    found: np.ndarray = component.astype(np.int64)
    return found
