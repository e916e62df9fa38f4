"""Boundary F1: how many of the boundaries said lie near a true one, and how many of the true ones were found.

Csurka, Larlus, Perronnin: What is a good evaluation measure for semantic segmentation? BMVC 2013, doi:10.5244/C.27.32.
Here the tolerance is in metres, and boundaries of many images are pooled by adding their counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from scipy.ndimage import binary_dilation, distance_transform_edt

from cropland.evaluation.counts import UNKNOWN

EVERYWHERE = (slice(None), slice(None))


def boundary(
    mask: UInt8[np.ndarray, "height width"], known: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """The cropland pixels that share an edge with a pixel of other; the rim of the image and of the unknown is none."""
    beside_other = binary_dilation((mask == 0) & known)
    edges: np.ndarray = (mask == 1) & known & beside_other
    return edges


def distance_m(
    edges: Bool[np.ndarray, "height width"], pixel_m: tuple[float, float]
) -> Float64[np.ndarray, "height width"]:
    """Metres from every pixel to the nearest edge pixel, centre to centre; infinite where there is none."""
    if not edges.any():
        return np.full(edges.shape, np.inf)
    distances: np.ndarray = distance_transform_edt(~edges, sampling=pixel_m)
    return distances


def boundary_counts(
    said: UInt8[np.ndarray, "height width"],
    true: UInt8[np.ndarray, "height width"],
    *,
    pixel_m: tuple[float, float],
    tolerances_m: Sequence[float],
    core: tuple[slice, slice] = EVERYWHERE,
) -> Int64[np.ndarray, "tolerance 4"]:
    """Boundary pixels said, those near a true one, true ones, those near one said; add two to pool them.

    `pixel_m` is (height, width) of a pixel. Only pixels of `core` are counted, the rest is context. A tolerance
    below the size of a pixel cannot be told from a perfect match and counts nothing.
    """
    known = (said != UNKNOWN) & (true != UNKNOWN)
    ours, theirs = boundary(said, known), boundary(true, known)
    to_theirs, to_ours = (distance_m(edges, pixel_m)[core] for edges in (theirs, ours))
    away, missed = to_theirs[ours[core]], to_ours[theirs[core]]
    rows = [(away.size, (away <= m).sum(), missed.size, (missed <= m).sum()) for m in tolerances_m]
    measurable = np.array(tolerances_m) >= max(pixel_m) * (1 - 1e-3)
    return np.array(rows, np.int64) * measurable[:, None]


def boundary_f1(counts: Int64[np.ndarray, "tolerance 4"]) -> Float64[np.ndarray, " tolerance"]:
    """F1 of boundaries at every tolerance, 0 to 1; nan where neither side has a boundary."""
    said, said_near, true, true_near = counts.T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = said_near / said, true_near / true
        f1 = 2 * precision * recall / (precision + recall)
    return np.where((said + true > 0) & np.isnan(f1), 0, f1)
