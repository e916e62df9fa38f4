"""Regions along the border of a picture."""

import numpy as np
from jaxtyping import Bool, Num
from scipy import ndimage

from cropland.geo.nodata import is_near

__all__ = ["along_border", "grown", "is_abrupt"]

ALONG = 0.125  # share of the border: a roof or a cloud that touches it fills less
SOFT = 0.1  # of the median: a neighbour so near the value is its shading, as around water or cloud


def along_border(filled: Bool[np.ndarray, "row col"]) -> Bool[np.ndarray, "row col"]:
    """The part that is connected to the border, if it fills enough of that."""
    if _border(filled).mean() < ALONG:
        return np.zeros_like(filled)
    labels, _ = ndimage.label(filled)
    touching = np.unique(_border(labels))
    return np.isin(labels, touching[touching > 0])


def _border(picture: Num[np.ndarray, "row col"]) -> Num[np.ndarray, " place"]:
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])


def is_abrupt(values: Num[np.ndarray, "layer row col"], region: np.ndarray, known: np.ndarray, value: float) -> bool:
    """Whether few neighbours of the region are nearly as dark or as bright as it is."""
    around = ndimage.binary_dilation(region) & ~region & known
    if not around.any():
        return True
    distance = SOFT * float(np.median(values[:, known & ~region]))
    return float(is_near(values, value, distance)[around].mean()) < 0.5


def grown(region: Bool[np.ndarray, "row col"]) -> Bool[np.ndarray, "row col"]:
    """The region and all its neighbours."""
    reached: np.ndarray = ndimage.binary_dilation(region, np.ones((3, 3)))
    return reached
