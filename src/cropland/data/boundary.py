"""How far each pixel of a label lies from the nearest boundary of a field: what the second output learns from.

The distance is kept, not the rim itself: how wide a rim is follows from the recipe and from the pixel that a crop is
trained at, and a distance can be resampled to any of them.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int32, UInt8
from scipy import ndimage

__all__ = ["MARGIN", "NEAR", "STEP", "boundary_distance", "half_rim"]

STEP = 0.1  # pixels of distance in one level
FAR = 254  # the level of every distance from 25.4 pixels on
MARGIN = 26  # pixels around a window within which a boundary counts
UNKNOWN = 255
LEAST = 0.75  # pixels on each side of a boundary: a pixel beside one lies 0.5 away, more after resampling
NEAR = 2.5  # pixels: so near to unknown ground, or so far inside the edge of a mask, there may be other boundaries


def boundary_distance(
    label: UInt8[np.ndarray, "height width"],
    field: Int32[np.ndarray, "height width"] | None,
    *,
    is_outlined: bool = False,
) -> UInt8[np.ndarray, "height width"]:
    """The distance of every pixel's centre to the nearest boundary of a field, in steps of 0.1 pixels; 255 unknown.

    label: 1 cropland, 0 not cropland, 255 unknown. field: the number of the field that a pixel lies in, 0 for none;
    None where only a mask is known. A boundary runs between two known pixels of different fields, and between cropland
    and what is not. Within 2.5 pixels of unknown ground, where another may run, only boundaries that are nearer count.
    Without fields, edges of the mask are boundaries, and cropland further in than 2.5 pixels is unknown.
    is_outlined: a boundary also runs between a field and unknown ground outside of it.
    """
    known, cropland = label != UNKNOWN, label == 1
    region = np.where(cropland, 1 if field is None else field + 1, 0)
    beside = np.zeros(label.shape, bool)
    for before, after in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        differ = (region[before] != region[after]) & known[before] & known[after]
        if is_outlined and field is not None:
            # An area that was looked at may end within a field, which then goes on beyond it and has no boundary there.
            in_field = (cropland[before] & known[before]) | (cropland[after] & known[after])
            differ |= (field[before] != field[after]) & (known[before] != known[after]) & in_field
        beside[before] |= differ
        beside[after] |= differ
    distance, to_unknown = _distance(beside) + 0.5, _distance(~known) - 0.5
    steps = np.minimum(np.rint(distance / STEP), FAR).astype(np.uint8)
    unsure = ~known | ((to_unknown <= NEAR) & (to_unknown < distance))
    if field is None:
        unsure |= cropland & (steps > NEAR / STEP)
    steps[unsure] = UNKNOWN
    return steps


def _distance(inside: Bool[np.ndarray, "height width"]) -> Float64[np.ndarray, "height width"]:
    """Of each pixel's centre to that of the nearest pixel inside; infinite where there is none."""
    if not inside.any():
        return np.full(inside.shape, np.inf)
    distance: np.ndarray = ndimage.distance_transform_edt(~inside)
    return distance


def half_rim(width_m: float, *, chip_m: float, pixel_m: float) -> float:
    """Half the width of a rim of `width_m` metres on a chip of pixels of `chip_m` metres, in these pixels.

    pixel_m: the pixel that the network sees. The rim is at least one and a half pixels wide, of both, and at most the
    50 pixels of the chip within which a distance is kept.
    """
    return min(max(width_m / 2, LEAST * max(chip_m, pixel_m)) / chip_m, (FAR - 1) * STEP)
