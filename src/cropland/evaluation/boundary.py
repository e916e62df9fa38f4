"""Boundary F1, from the shares of predicted boundaries near a reference one and of reference ones near a predicted
one; and how far apart the two lie.

Csurka, Larlus, Perronnin: What is a good evaluation measure for semantic segmentation? BMVC 2013, doi:10.5244/C.27.32.
Here the tolerance is in metres, and boundaries of many images are pooled by adding their counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from scipy.ndimage import binary_dilation, distance_transform_edt

from cropland.evaluation.counts import UNKNOWN, ratio


def boundary(
    mask: UInt8[np.ndarray, "height width"], known: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """Cropland pixels that share an edge with known other pixels; edges of the image and of unknown ground are none."""
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
    prediction: UInt8[np.ndarray, "height width"],
    reference: UInt8[np.ndarray, "height width"],
    *,
    pixel_m: tuple[float, float],
    tolerances_m: Sequence[float],
    core: tuple[slice, slice] = np.s_[:, :],
) -> Float64[np.ndarray, "tolerance 6"]:
    """Boundary pixels at every tolerance: predicted ones, those near a reference one, reference ones, those near a
    predicted one; then the metres from the near ones to their counterparts, summed for both sides.

    Add two to pool them. `pixel_m` is (height, width) of a pixel. Only pixels of `core` are counted, the rest is
    context. A tolerance below the size of a pixel would count perfect matches only, and is given no counts.
    """
    known = (prediction != UNKNOWN) & (reference != UNKNOWN)
    predicted, expected = boundary(prediction, known), boundary(reference, known)
    to_predicted, to_expected = (distance_m(edges, pixel_m)[core] for edges in (predicted, expected))
    away, missed = to_expected[predicted[core]], to_predicted[expected[core]]
    near = [(away[away <= metres], missed[missed <= metres]) for metres in tolerances_m]
    rows = [(away.size, a.size, missed.size, m.size, a.sum(), m.sum()) for a, m in near]
    measurable = np.array(tolerances_m) >= max(pixel_m) * (1 - 1e-3)
    return np.array(rows, np.float64) * measurable[:, None]


def boundary_f1(counts: Float64[np.ndarray, "*pool tolerance 6"]) -> Float64[np.ndarray, "*pool tolerance"]:
    """F1 of boundaries at every tolerance, 0 to 1; nan where neither side has a boundary."""
    predicted, predicted_near, expected, expected_near, _, _ = np.moveaxis(counts, -1, 0)
    precision, recall = ratio(predicted_near, predicted), ratio(expected_near, expected)
    f1 = ratio(2 * precision * recall, precision + recall)
    return np.where((predicted + expected > 0) & np.isnan(f1), 0, f1)


def boundary_distance_m(counts: Float64[np.ndarray, "*pool tolerance 6"]) -> Float64[np.ndarray, "*pool tolerance"]:
    """Mean distance in metres between boundary pixels of either side and their nearest counterparts within the
    tolerance; nan where there are none."""
    _, predicted_near, _, expected_near, predicted_m, expected_m = np.moveaxis(counts, -1, 0)
    distance: np.ndarray = ratio(predicted_m + expected_m, predicted_near + expected_near)
    return distance
