"""How far labels lie from what they show: the edges of the labels, compared with the edges of the image.

An edge is described by its direction, not by its sign or its strength: a field may be darker or brighter than its
neighbour. With g the gradient of a band as a complex number, the sum of g² over the bands has twice the angle of the
edge, so that g and -g are the same (the structure tensor; Di Zenzo 1986, doi:10.1016/0734-189X(86)90223-9; Bigün and
Granlund 1987). Of labels and image these are normalised and correlated by FFT at every shift up to 16 pixels, and
divided by what is known at that shift (orientation correlation, Fitch et al. 2002, BMVC, doi:10.5244/C.16.11; masks as
in Padfield 2012, doi:10.1109/TIP.2011.2181402). The peak is placed within a pixel by a parabola.

Whether it is more than chance is decided by drawing the blocks again (Efron 1979, doi:10.1214/aos/1176344552): the peak
must stay where it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import hypot
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64, UInt8
from scipy import ndimage

from cropland.data.boundary import STEP
from cropland.data.labels import CROPLAND, UNKNOWN

__all__ = ["Patch", "Shift", "has_edges", "label_edges", "measured_shift"]

REACH = 16  # pixels of shift that are tried to each side
BLOCK = 64  # pixels along the edge of a block
SIGMA = 1.0  # pixels of the Gaussian whose derivatives are the gradient
AROUND = 8.0  # pixels of the Gaussian that says how strong an edge is for its neighbourhood
NEAR = 3  # pixels beside unknown ground, whose edges are nobody's
FRAME = 8  # pixels along the edge of a window, where drawn fields end without a reason on the ground
LEAST_EDGE = 32  # pixels beside a boundary that a block must have
LEAST_BLOCKS = 10  # below, drawing again says little
DRAWS = 200
AGREE = 1.0  # pixels from the peak within which a peak that is drawn again agrees
SURE = 0.95  # least share of these

Surfaces = Float64[np.ndarray, "block down right"]


class Patch(NamedTuple):
    """A window of an image with its label, and the distance to boundaries of fields as `boundary_distance` has it.

    values: 0 at the low percentile of the band in its scene, 1 at the high one.
    """

    values: Float32[np.ndarray, "band height width"]
    valid: Bool[np.ndarray, "height width"]
    label: UInt8[np.ndarray, "height width"]
    boundary: UInt8[np.ndarray, "height width"]


@dataclass(frozen=True)
class Shift:
    """How far labels lie from the edges of the image, in pixels: to the right and down.

    low: the length that the shift has at least, with 97.5 % confidence. agreement: the share of the draws whose peak is
    within a pixel of this one, 0..1. blocks: how many were compared.
    """

    right: float
    down: float
    low: float
    agreement: float
    blocks: int

    @property
    def length(self) -> float:
        """In pixels."""
        return hypot(self.right, self.down)

    @property
    def is_measured(self) -> bool:
        """Whether the peak is more than chance."""
        return self.agreement >= SURE


def measured_shift(patches: Iterable[Patch]) -> Shift | None:
    """The shift of the labels of some windows of one scene; None if fewer than 10 blocks have edges of labels.

    It is exact to 0.1 pixels where fields have visible borders. Labels whose borders are not those of the image, such
    as rough outlines, give a shift that `is_measured` says to be chance.
    """
    pairs = [pair for patch in patches for pair in _blocks(patch)]
    if len(pairs) < LEAST_BLOCKS:
        return None
    found, known = (np.array(each) for each in zip(*pairs, strict=True))
    peak = _peak(found.sum(axis=0), known.sum(axis=0))
    weights = np.random.default_rng(0).multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), size=DRAWS)
    peaks = np.array([_peak(*(np.tensordot(weight, each, 1) for each in (found, known))) for weight in weights])
    near = np.hypot(*(peaks - peak).T) <= AGREE
    low = float(np.quantile(np.hypot(*peaks.T), 0.025))
    right, down = (-peak).tolist()  # the image lies at the peak as seen from the label
    return Shift(right, down, low, float(near.mean()), len(pairs))


def has_edges(label: UInt8[np.ndarray, "height width"], boundary: UInt8[np.ndarray, "height width"]) -> bool:
    """Whether a window has enough boundaries of labels to be compared with an image."""
    return int(label_edges(label, boundary).sum()) >= LEAST_EDGE


def label_edges(
    label: UInt8[np.ndarray, "height width"], boundary: UInt8[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """The pixels on both sides of a boundary, away from unknown ground and from the edge of the window."""
    edges: np.ndarray = (boundary <= 0.5 / STEP) & _is_usable(label)
    return edges


def _is_usable(label: UInt8[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    usable = ~_grown(label == UNKNOWN, NEAR)
    for end in (np.s_[:FRAME], np.s_[-FRAME:]):
        usable[end] = usable[:, end] = False
    return usable


def _blocks(patch: Patch) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """The correlation of each block at every shift, and the weight of what was known there."""
    beside = label_edges(patch.label, patch.boundary)
    if beside.sum() < LEAST_EDGE:
        return
    cropland = patch.label == CROPLAND
    touching = (patch.boundary <= 0.5 / STEP) & ndimage.binary_erosion(cropland, np.ones((3, 3)))
    drawn = _tensor(np.stack([cropland, touching]).astype(np.float32))
    strength = np.abs(drawn)
    labelled = np.where((strength > 2e-3) & _is_usable(patch.label), drawn / (strength + 1e-2), 0)
    there = (~_grown(~patch.valid, NEAR)).astype(np.float32)
    seen = _tensor(patch.values.clip(0, 1))
    strength = np.abs(seen)
    usual = ndimage.gaussian_filter(strength * there, AROUND)
    usual /= np.maximum(ndimage.gaussian_filter(there, AROUND), 1e-6)
    image, weight = (np.pad(each, REACH) for each in (seen / (strength + usual + 1e-12) * there, there))
    height, width = beside.shape
    for row in range(0, height, BLOCK):
        for col in range(0, width, BLOCK):
            here = np.s_[row : row + BLOCK, col : col + BLOCK]
            if beside[here].sum() < LEAST_EDGE:
                continue
            block = labelled[here]
            wide = np.s_[row : row + block.shape[0] + 2 * REACH, col : col + block.shape[1] + 2 * REACH]
            yield _correlation(image[wide], block), _correlation(weight[wide], np.abs(block))


def _tensor(bands: Float32[np.ndarray, "band height width"]) -> Complex64[np.ndarray, "height width"]:
    """The squared gradient, summed over the bands, as a complex number of twice the angle."""
    total = np.zeros(bands.shape[1:], np.complex64)
    for band in bands:
        across, down = (ndimage.gaussian_filter(band, SIGMA, order=order) for order in ((0, 1), (1, 0)))
        total += (across + 1j * down) ** 2
    return total


def _correlation(image: np.ndarray, block: np.ndarray) -> Float64[np.ndarray, "down right"]:
    """The sum of image times conjugate block, with the block at each place where it is within the image."""
    product = np.fft.ifft2(np.fft.fft2(image) * np.conj(np.fft.fft2(block, image.shape)))
    surface: np.ndarray = product.real[: 2 * REACH + 1, : 2 * REACH + 1]
    return surface


def _peak(found: np.ndarray, known: np.ndarray) -> Float64[np.ndarray, " axis"]:
    """Where the correlation is highest, to the right and down, by a parabola through it and its neighbours."""
    surface = found / np.maximum(known, 1e-6 * known.max() + 1e-12)
    place = np.unravel_index(int(surface.argmax()), surface.shape)
    exact = []
    for axis in (1, 0):
        line, at = surface.take(place[1 - axis], axis=1 - axis), int(place[axis])
        offset = 0.0
        if 0 < at < 2 * REACH:
            before, here, after = line[at - 1 : at + 2]
            curve = before - 2 * here + after
            offset = 0.5 * (before - after) / curve if curve < 0 else 0.0
        exact.append(at + offset - REACH)
    return np.array(exact)


def _grown(mask: Bool[np.ndarray, "height width"], pixels: int) -> Bool[np.ndarray, "height width"]:
    return ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=pixels) if mask.any() else mask
