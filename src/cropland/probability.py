"""A probability in a byte: 0 to 254 is p x 254, 255 is no data. The only place that knows this."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

__all__ = [
    "BOUNDARY_DESCRIPTION",
    "DESCRIPTION",
    "LEVELS",
    "NO_DATA",
    "ONE",
    "classes",
    "from_levels",
    "from_logits",
    "to_levels",
]

ONE = 254  # the level of a probability of 1
LEVELS = ONE + 1  # how many levels there are
NO_DATA = 255
DESCRIPTION = f"probability x {ONE}"  # of the band of a file
BOUNDARY_DESCRIPTION = f"boundary probability x {ONE}"


def to_levels(
    probability: Float[np.ndarray, "height width"], valid: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width"]:
    """Probabilities (0..1) as they are stored, no data where they are not valid."""
    return np.where(valid, np.rint(probability * ONE), NO_DATA).astype(np.uint8)


def from_logits(
    logits: Float[np.ndarray, "*output height width"], valid: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "*output height width"]:
    """The sigmoid of logits as it is stored, in as few passes and copies as numpy allows."""
    odds = np.negative(logits)
    with np.errstate(over="ignore"):  # beyond e^88 a probability is 0
        np.exp(odds, out=odds)
    odds += 1
    levels: np.ndarray = np.rint(np.divide(ONE, odds, out=odds), out=odds).astype(np.uint8)
    np.copyto(levels, NO_DATA, where=~valid)
    return levels


def from_levels(levels: UInt8[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Probabilities (0..1, float32) of what is stored; NaN for no data."""
    known = np.float32(levels) / np.float32(ONE)
    return np.where(levels == NO_DATA, np.float32(np.nan), known)


def classes(threshold: float) -> UInt8[np.ndarray, 256]:
    """The class of every level: 1 where p >= threshold, else 0, 255 for no data. Index it with levels to get a mask."""
    table = (np.arange(256) / ONE >= threshold).astype(np.uint8)
    table[NO_DATA] = NO_DATA
    return table
