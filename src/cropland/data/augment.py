"""Augmentation: one training crop from chips, a pure function of the random generator that is passed in.

Image, label and validity always change together. NumPy computes, not PyTorch, which would give each thread that
prepares crops a team of threads of its own, beside those of the training step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, Num
from numpy.random import Generator
from scipy import ndimage
from scipy.sparse import csr_matrix
from scipy.special import ndtri
from torch import Tensor
from torch.nn import functional as F

from cropland.data.boundary import STEP, half_rim
from cropland.data.labels import UNKNOWN
from cropland.geo.resample import Taps, weighted_sums
from cropland.geo.statistics import CEILING, FLOOR, HIGH, LOW, MISSING
from cropland.recipe import Augmentation, Range

# The middles of 65,536 equal shares of the normal distribution. Sixteen random bits choose one in a fifth of the time
# that a normal number takes to be drawn.
NORMAL = ndtri((np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.float32)
EVERY = 3  # the percentiles of a crop are those of every third row and column


class Crop(NamedTuple):
    """Values between 0 and 1 of the source's range and where there are any; per output of the network the target, 0 or
    1, and where it is known."""

    image: Float[Tensor, "band height width"]
    seen: Bool[Tensor, "height width"]
    target: Float[Tensor, "output height width"]
    valid: Bool[Tensor, "output height width"]


@dataclass(frozen=True)
class SourceChip:
    """A chip that crops are cut from: raw values with the low and high percentile of its source, and its label."""

    values: np.ndarray  # (band, height, width), the chip's own type
    seen: np.ndarray  # bool (height, width): the pixel is valid
    label: np.ndarray  # uint8 (height, width): 1 cropland, 0 not cropland, 255 unknown
    boundary: np.ndarray | None  # uint8 (height, width): as `boundary_distance` gives it; None where not wanted
    low: Float[np.ndarray, " band"]
    high: Float[np.ndarray, " band"]
    pixel_m: float


def draw_pixel(pixel_m: float, scale: Range, *, limits: Range, rng: Generator) -> float:
    """A pixel size in metres: the chip's times a log-uniform scale, within the limits."""
    drawn = np.exp(rng.uniform(*np.log(scale)))
    return float(np.clip(pixel_m * drawn, *limits))


def cut(source: SourceChip, *, pixel_m: float, size: int, rng: Generator, rim_m: float = 0.0) -> Crop:
    """A square crop of `size` pixels of `pixel_m` metres from a random place, turned or mirrored at random.

    Where the chip is too small, its mirror image fills the rest, which has no seam. rim_m: the width of the rim along
    boundaries, in metres; it is never less than one and a half pixels, of the crop or of the chip.
    """
    cutout = _draw_cutout(source.label.shape, pixel_m / source.pixel_m, size, rng)
    rim = half_rim(rim_m, chip_m=source.pixel_m, pixel_m=pixel_m)
    seen = cutout.part(source.seen)
    image, share = cutout.sums(cutout.part(source.values), seen)
    # The mean of what was stretched is the stretch of the mean, and a crop has fewer pixels than its part of the chip.
    low, high = source.low[:, None, None], source.high[:, None, None]
    image -= low * share
    image /= (high - low) * _weight(share)
    target: list[np.ndarray] = []
    valid: list[np.ndarray] = []
    for layer in (source.label, source.boundary):
        if layer is not None:
            label = cutout.part(layer)
            (total,), weight = cutout.sums(label[None], seen & (label != UNKNOWN))
            mean = total / _weight(weight)
            target.append(mean * STEP <= rim if target else mean >= 0.5)
            valid.append(np.broadcast_to(weight >= 0.5, mean.shape))
    is_seen = np.broadcast_to(share >= 0.5, image.shape[1:])
    return Crop(*map(torch.from_numpy, (image, is_seen.copy(), np.stack(target, dtype=np.float32), np.stack(valid))))


def paste(base: Crop, other: Crop, rng: Generator, *, reach: int = 2) -> Crop:
    """`other` pasted over `base` within a random smooth shape; where its cropland is not known, `base` stays.

    Within `reach` pixels of the edge of the shape the boundary is unknown: half a rim, and no less than two.
    """
    alpha = _shape(base.target.shape[-1], rng) * other.valid[0].numpy()
    mixed = base.image.numpy() * (1 - alpha)
    mixed += other.image.numpy() * alpha
    covered = alpha > 0.5
    target = np.where(covered, other.target.numpy(), base.target.numpy())
    valid = np.where(covered, other.valid.numpy(), base.valid.numpy())
    valid[1:] &= ~(_grown(covered, reach) & _grown(~covered, reach))
    return Crop(*map(torch.from_numpy, (mixed, base.seen.numpy() | covered, target, valid)))


def vary(crop: Crop, amount: Augmentation, rng: Generator) -> Crop:
    """The same ground in another light, air, sensor and focus."""
    image = crop.image.numpy()
    bands = len(image)
    if rng.random() < amount.swap:
        image = image[rng.permutation(bands)]
    if rng.random() < amount.colour:
        grey = image.mean(0, keepdims=True)
        image = grey + np.float32(rng.uniform(0, 1.2)) * (image - grey)
    if rng.random() < amount.fields:
        image = _vary_fields(image, crop, rng)
    gain = np.exp(rng.normal(0, amount.gain) + rng.normal(0, amount.band_gain, bands))
    offset = rng.normal(0, amount.offset) + rng.normal(0, amount.band_offset, bands)
    exponent = 2.0 ** rng.uniform(-amount.gamma, amount.gamma)
    haze = rng.uniform(0, amount.haze) * (rng.random() < 0.3)
    # x -> (x ** exponent gain + offset) (1 - haze) + haze
    image = np.maximum(image, 0) ** np.float32(exponent)
    image *= _column(gain * (1 - haze))
    image += _column(offset * (1 - haze) + haze)
    if rng.random() < 0.3:
        image = _blur(image, rng.uniform(0.2, max(0.2, amount.blur)))
    image += _noise(image.shape, rng.uniform(0, amount.noise), rng)
    return crop._replace(image=torch.from_numpy(image))


def stretch(crop: Crop, share_of_windows: float, rng: Generator) -> Crop:
    """Normalise by percentiles between those of the crop's source and, at times, those of the crop itself."""
    image, seen = crop.image.numpy(), crop.seen.numpy()
    low, high = np.zeros(len(image), np.float32), np.ones(len(image), np.float32)
    some = image[:, ::EVERY, ::EVERY][:, seen[::EVERY, ::EVERY]]
    if rng.random() < share_of_windows and some.size:
        weight = np.float32(rng.random())
        own = np.percentile(some, (LOW, HIGH), axis=1).astype(np.float32)
        low, high = (edge + weight * (mine - edge) for edge, mine in zip((low, high), own, strict=True))
    # A crop of nothing but water has no contrast of its own; no scene has its noise stretched over the whole range.
    width = np.maximum(high - low, 0.15)
    stretched = image - _column(low)
    stretched /= _column(width)
    stretched.clip(FLOOR, CEILING, out=stretched)
    if not seen.all():
        stretched[:, ~seen] = MISSING
    return crop._replace(image=torch.from_numpy(stretched))


def _vary_fields(
    image: Float32[np.ndarray, "band height width"], crop: Crop, rng: Generator
) -> Float32[np.ndarray, "band height width"]:
    """Every field, and every part of the rest, with a gain, an offset and a contrast of its own, its edge softened.

    A field is cropland that no known rim divides, with its half of the rims around it: the lights of two fields meet
    where their boundary runs. The rest, which may be water and is known by its evenness, is cut at random and varied a
    third as much. A domain randomisation; source of the idea: Tobin et al. 2017, arXiv:1703.06907.
    """
    target, valid = crop.target.numpy(), crop.valid.numpy()
    cropland = (target[0] > 0.5) & valid[0]
    inside = cropland & ~((target[1] > 0.5) & valid[1]) if len(target) > 1 else cropland
    fields, count = ndimage.label(inside)
    if count and (cropland != inside).any():
        # Of two fields beside a straight rim, in whatever direction, either gets its half by any of the distances; that
        # of a king on a chessboard takes half the time of the Euclidean one.
        nearest = ndimage.distance_transform_cdt(fields == 0, "chessboard", return_distances=False, return_indices=True)
        fields = np.where(cropland, fields[tuple(nearest)], 0)
    size = fields.shape[0]
    parts = (_shape(size, rng) + 2 * _shape(size, rng) + 0.5).astype(np.int64)
    region = (np.where(fields > 0, fields + 3, parts) if count else parts).ravel()
    regions, strength = count + 4, np.where(np.arange(count + 4) > 3, 1.0, 1 / 3)
    pixels = np.maximum(np.bincount(region, minlength=regions), 1)
    mean = np.stack([np.bincount(region, band.ravel(), minlength=regions) / pixels for band in image])
    contrast = 1 + strength * (rng.uniform(0.3, 1.3, regions) - 1)
    gain = np.exp(strength * rng.normal(-0.15, 0.35, regions))
    offset = strength * (rng.normal(0, 0.08, regions) + rng.normal(0, 0.03, (len(image), regions)))
    # x -> (mean + contrast (x - mean)) gain + offset, as slope and intercept of each pixel.
    slope, intercept = contrast * gain, mean * (1 - contrast) * gain + offset
    maps = np.concatenate([slope[None], intercept]).astype(np.float32).take(region, axis=1)
    soft = _blur(maps.reshape(-1, size, size), float(rng.uniform(0.4, 1.5)))
    varied: np.ndarray = image * soft[:1]
    varied += soft[1:]
    return varied


class _Cutout(NamedTuple):
    """How a crop looks at its chip: the part that it sees, and how rows and columns of that part become its own."""

    rows: slice
    columns: slice
    down: csr_matrix
    across: csr_matrix
    is_transposed: bool

    def part(self, layers: np.ndarray) -> np.ndarray:
        """What the crop sees of layers (..., height, width) of the chip."""
        return layers[..., self.rows, self.columns]

    def sums(
        self, parts: Num[np.ndarray, "layer height width"], known: Bool[np.ndarray, "height width"]
    ) -> tuple[Float32[np.ndarray, "layer size size"], Float32[np.ndarray, "#size #size"]]:
        """Weighted sums of the known pixels of each layer, and of their weights; these are 1 where all are known."""
        if known.all():
            return np.stack([self._sum(part) for part in parts]), np.ones((1, 1), np.float32)
        return np.stack([self._sum(np.where(known, part, 0)) for part in parts]), self._sum(known)

    def _sum(self, part: Num[np.ndarray, "height width"]) -> Float32[np.ndarray, "size size"]:
        value = part.flat[0]
        if (part == value).all():  # as most labels are: the weights of a pixel add up to 1
            return np.full((self.down.shape[0], self.across.shape[0]), value, np.float32)
        return weighted_sums(part, self.down, self.across, is_transposed=self.is_transposed)


def _draw_cutout(shape: tuple[int, ...], ratio: float, size: int, rng: Generator) -> _Cutout:
    """A random place in a chip, filled up by its mirror image, in one of the eight positions of a square."""
    want = max(1, round(size * ratio))
    windows = [_window(length, want, rng) for length in shape]
    counts = [max(1, round((window.stop - window.start) / ratio)) for window in windows]
    places = [_mirrored(count, size, rng) if count < size else np.arange(size) for count in counts]
    quarters, is_mirrored = int(rng.integers(4)), rng.random() < 0.5
    # A quarter turn is a reversal of the columns and a transposition, and a mirror reverses what are columns then.
    is_transposed = quarters % 2 == 1
    reversals = [
        (quarters in (2, 3)) ^ (is_mirrored and is_transposed),
        (quarters in (1, 2)) ^ (is_mirrored and not is_transposed),
    ]
    parts, matrices = [], []
    for window, count, place, is_reversed in zip(windows, counts, places, reversals, strict=True):
        taps = _triangles(window.stop - window.start, count, place[::-1] if is_reversed else place)
        first, length = taps.span
        parts.append(slice(window.start + first, window.start + first + length))
        matrices.append(taps.matrix)
    (rows, columns), (down, across) = parts, matrices
    return _Cutout(rows, columns, down, across, is_transposed)


def _window(length: int, want: int, rng: Generator) -> slice:
    start = int(rng.integers(0, max(0, length - want) + 1))
    return slice(start, min(length, start + want))


def _mirrored(length: int, size: int, rng: Generator) -> Int64[np.ndarray, " size"]:
    """Places on an axis of `length` pixels that runs to and fro."""
    place = (np.arange(size) + rng.integers(0, 2 * length)) % (2 * length)
    there: np.ndarray = np.minimum(place, 2 * length - 1 - place)
    return there


def _triangles(length: int, count: int, place: Int64[np.ndarray, " size"]) -> Taps:
    """Weights for the pixels `place` of an axis of `length` pixels that becomes `count`: averaging when shrinking,
    bilinear when growing.

    They fall off linearly from the centre of the pixel, over as far as two centres of the wider pixels lie apart.
    """
    ratio = length / count
    reach = max(ratio, 1.0)
    centre = (place[:, None] + 0.5) * ratio
    pixel = np.maximum(np.floor(centre - reach + 0.5), 0).astype(np.int64) + np.arange(int(np.ceil(2 * reach)) + 1)
    weight = np.maximum(1 - np.abs(pixel + 0.5 - centre) / reach, 0) * (pixel < length)
    weight /= weight.sum(1, keepdims=True)
    return Taps(np.minimum(pixel, length - 1), weight.astype(np.float32))


def _weight(share: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    weight: np.ndarray = np.where(share >= 0.5, share, np.float32(1))
    return weight


def _grown(shape: Bool[np.ndarray, "height width"], reach: int) -> Bool[np.ndarray, "height width"]:
    """The pixels within `reach` of a shape, also diagonally."""
    for axis in (0, 1):
        before = shape.swapaxes(0, axis)
        after = before.copy(order="K")
        for step in range(1, reach + 1):
            after[step:] |= before[:-step]
            after[:-step] |= before[step:]
        shape = after.swapaxes(0, axis)
    return shape


def _shape(size: int, rng: Generator) -> Float32[np.ndarray, "size size"]:
    """Opacity 0..1 of a random blob, band or half-plane: smooth noise cut at a random level, its rim hard or soft."""
    cells = int(rng.integers(2, 7))
    smooth = _bicubic(cells, size)
    field = weighted_sums(rng.standard_normal((cells, cells), np.float32), smooth, smooth, is_transposed=True)
    level = np.quantile(field[::8, ::8], rng.uniform(0.3, 0.9)).astype(np.float32)
    rim = np.float32(rng.choice([0.01, 0.05]))
    opacity: np.ndarray = ((field - level) / rim + np.float32(0.5)).clip(0, 1)
    return opacity


@lru_cache
def _bicubic(cells: int, size: int) -> csr_matrix:
    """The weights that make a line of `cells` values a smooth one of `size`, from the first to the last of them."""
    line = torch.eye(cells)[None, None]
    return csr_matrix(F.interpolate(line, size=(size, cells), mode="bicubic", align_corners=True)[0, 0].numpy())


def _column(values: np.ndarray) -> Float32[np.ndarray, "band 1 1"]:
    return values.astype(np.float32)[:, None, None]


def _noise(shape: tuple[int, ...], deviation: float, rng: Generator) -> np.ndarray:
    """Normal numbers of that deviation, float32."""
    size = int(np.prod(shape))
    bits = rng.bit_generator.random_raw(-(-size // 4)).view(np.uint16)[:size]
    noise: np.ndarray = (NORMAL * np.float32(deviation)).take(bits, mode="clip").reshape(shape)
    return noise


def _blur(image: Float32[np.ndarray, "band height width"], sigma: float) -> Float32[np.ndarray, "band height width"]:
    """A Gaussian of `sigma` pixels, cut at twice that; beyond the edge its values go on."""
    reach = int(np.ceil(2 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (1, 2):
        length = image.shape[axis]
        room = [(reach, reach) if each == axis else (0, 0) for each in range(3)]
        padded = np.pad(image, room, mode="edge").swapaxes(axis, 2)
        blurred = padded[:, :, reach : reach + length] * taps[reach]
        for step in range(reach):  # a tap on either side has the same weight
            far = 2 * reach - step
            pair = padded[:, :, step : step + length] + padded[:, :, far : far + length]
            pair *= taps[step]
            blurred += pair
        image = blurred.swapaxes(axis, 2)
    return image
