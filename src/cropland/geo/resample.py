"""Pixels of another size by separable weights: area means to coarser pixels, bilinear to finer ones.

The weights of an output pixel depend on its row and column in the scene alone and are summed in one order, so that a
window is the same to the bit as that part of a larger one.
"""

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, Num

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Taps", "resample", "resampled_length", "taps", "weighted_sums"]

BLOCK = 16  # columns that are transposed at a time: one line of the cache in each row


class Taps(NamedTuple):
    """Along one axis: the source pixels of each output pixel and their weights."""

    pixel: Int64[np.ndarray, "out tap"]
    weight: Float32[np.ndarray, "out tap"]

    @property
    def span(self) -> tuple[int, int]:
        """First source pixel needed, and how many."""
        first = int(self.pixel.min())
        return first, int(self.pixel.max()) + 1 - first

    @property
    def matrix(self) -> "csr_matrix":
        """The weights as a matrix of output by source pixels of the span; its products sum in the order of the taps."""
        from scipy.sparse import csr_matrix  # few scenes come here, and it takes as long to import as numpy

        (first, length), (out, tap) = self.span, self.weight.shape
        starts = np.arange(0, out * tap + 1, tap)
        return csr_matrix((self.weight.ravel(), (self.pixel - first).ravel(), starts), shape=(out, length))


def resampled_length(length: int, ratio: float) -> int:
    """Pixels of `ratio` times the size that cover `length` pixels."""
    # A ratio that is a quotient of pixel sizes may miss a whole number by its last bits.
    return max(1, ceil(length / ratio - 1e-6))


def taps(ratio: float, *, start: int, count: int, length: int) -> Taps:
    """Weights for output pixels `start .. start + count` over an axis of `length` source pixels.

    ratio is the output pixel over the source pixel: above 1 each weight is the part of the source pixel that the
    output pixel covers; below 1 they are those of linear interpolation between pixel centres.
    """
    place = np.arange(start, start + count)
    index, weight = _cover(place, ratio) if ratio > 1 else _interpolate(place, ratio)
    inside = np.clip(index, 0, length - 1)
    # The last output pixel reaches over the edge: there nothing is averaged, but interpolation holds the edge.
    return Taps(inside, np.where((index == inside) | (ratio <= 1), weight, 0).astype(np.float32))


def _cover(place: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    low, high = (place * ratio)[:, None], ((place + 1) * ratio)[:, None]
    # One constant number of taps for every window, or sums would have another order.
    index = np.floor(low).astype(np.int64) + np.arange(ceil(ratio) + (not float(ratio).is_integer()))
    return index, np.clip(np.minimum(high, index + 1) - np.maximum(low, index), 0, None)


def _interpolate(place: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    centre = (place + 0.5) * ratio - 0.5
    index = np.floor(centre).astype(np.int64)
    part = centre - index
    return index[:, None] + np.arange(2), np.stack([1 - part, part], axis=1)


def resample(
    values: Num[np.ndarray, "band height width"],
    valid: Bool[np.ndarray, "height width"] | None,
    *,
    rows: Taps,
    cols: Taps,
) -> tuple[Float32[np.ndarray, "band row col"], Bool[np.ndarray, "row col"] | None]:
    """Weighted means of the valid source pixels, and where at least half of the weight is valid.

    `values` and `valid` begin at the first pixels that the taps need (`Taps.span`); `valid` None means all of them.
    Where less is valid the means have no meaning.
    """
    down, across = rows.matrix, cols.matrix
    whole = _whole_weight(down, across)
    if valid is None:
        return np.stack([weighted_sums(band, down, across) / whole for band in values]), None
    weight = weighted_sums(valid, down, across)
    enough = weight >= np.float32(0.5) * whole
    divisor = np.where(enough, weight, np.float32(1))
    return np.stack([weighted_sums(np.where(valid, band, 0), down, across) / divisor for band in values]), enough


def weighted_sums(
    plane: Num[np.ndarray, "height width"], down: "csr_matrix", across: "csr_matrix", *, is_transposed: bool = False
) -> Float32[np.ndarray, "row col"]:
    """The sums of a plane's pixels by the weights `down` its rows and `across` its columns, as `Taps.matrix` has them.

    They are (col, row) if `is_transposed`, which costs less.
    """
    by_row = down @ plane.astype(np.float32, copy=False)
    by_col: np.ndarray = across @ _transposed(by_row)
    return by_col if is_transposed else _transposed(by_col)


def _transposed(plane: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "width height"]:
    """A copy, a few columns at a time: rows whose length is a power of two would all fall on the same lines of the
    cache."""
    turned = np.empty(plane.shape[::-1], plane.dtype)
    for start in range(0, plane.shape[1], BLOCK):
        turned[start : start + BLOCK] = plane[:, start : start + BLOCK].T
    return turned


def _whole_weight(down: "csr_matrix", across: "csr_matrix") -> np.ndarray:
    """The sums of all weights: rows have few different ones, and each is multiplied once."""
    by_row, row = np.unique(down @ np.ones(down.shape[1], np.float32), return_inverse=True)
    by_col: np.ndarray = across @ np.tile(by_row, (across.shape[1], 1))
    return by_col.T[row]
