"""Augmentation: one training crop from chips, a pure function of the random generator that is passed in.

Image, label and validity always change together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.random import Generator
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from cropland.data.boundary import STEP, half_rim
from cropland.data.labels import UNKNOWN
from cropland.geo.statistics import CEILING, FLOOR, HIGH, LOW, MISSING
from cropland.recipe import Augmentation, Range


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
    ratio = pixel_m / source.pixel_m
    want = max(1, round(size * ratio))
    rows, columns = (_window(length, want, rng) for length in source.label.shape)
    low, high = source.low[:, None, None], source.high[:, None, None]
    seen = source.seen[rows, columns]
    values = (source.values[:, rows, columns].astype(np.float32) - low) / (high - low)
    labels = [each[rows, columns] for each in (source.label, source.boundary) if each is not None]
    known = [seen, *(seen & (label != UNKNOWN) for label in labels)]
    counts = [*[seen] * len(values), *known[1:]]  # of each layer the pixels that have a value
    weighed = (np.where(count, layer, 0) for layer, count in zip([*values, *labels], counts, strict=True))
    partly = [not each.all() for each in known]  # what is known throughout need not be resampled
    layers = [*weighed, *compress(known, partly)]
    stacked = torch.from_numpy(np.stack(layers, dtype=np.float32))
    shape = tuple(max(1, round((part.stop - part.start) / ratio)) for part in (rows, columns))
    turned = _dihedral(_mirror(_resize(stacked, shape), size, rng), rng)
    rim = half_rim(rim_m, chip_m=source.pixel_m, pixel_m=pixel_m)
    return _as_crop(turned, bands=len(values), partly=partly, rim=rim)


def paste(base: Crop, other: Crop, rng: Generator, *, reach: int = 2) -> Crop:
    """`other` pasted over `base` within a random smooth shape; where its cropland is not known, `base` stays.

    Within `reach` pixels of the edge of the shape the boundary is unknown: half a rim, and no less than two.
    """
    alpha = _shape(base.target.shape[-1], rng) * other.valid[0]
    mixed = base.image * (1 - alpha) + other.image * alpha
    covered = alpha > 0.5
    target, valid = torch.where(covered, other.target, base.target), torch.where(covered, other.valid, base.valid)
    valid[1:] &= ~_beside_edge(covered, reach)
    return Crop(mixed, base.seen | covered, target, valid)


def vary(crop: Crop, amount: Augmentation, rng: Generator) -> Crop:
    """The same ground in another light, air, sensor and focus."""
    image = crop.image
    bands = len(image)
    if rng.random() < amount.swap:
        image = image[torch.from_numpy(rng.permutation(bands))]
    if rng.random() < amount.colour:
        image = torch.lerp(image.mean(0, keepdim=True), image, float(rng.uniform(0, 1.2)))
    if rng.random() < amount.fields:
        image = _vary_fields(image, crop, rng)
    gain = np.exp(rng.normal(0, amount.gain) + rng.normal(0, amount.band_gain, bands))
    offset = rng.normal(0, amount.offset) + rng.normal(0, amount.band_offset, bands)
    exponent = 2.0 ** rng.uniform(-amount.gamma, amount.gamma)
    haze = rng.uniform(0, amount.haze) * (rng.random() < 0.3)
    image = image.clamp(min=0) ** exponent
    image = image * _column(gain) + _column(offset)
    image = image * (1 - haze) + haze
    if rng.random() < 0.3:
        image = _blur(image, rng.uniform(0.2, max(0.2, amount.blur)))
    noise = torch.from_numpy(rng.standard_normal(image.shape, np.float32))
    return crop._replace(image=image + noise * float(rng.uniform(0, amount.noise)))


def stretch(crop: Crop, share_of_windows: float, rng: Generator) -> Crop:
    """Normalise by percentiles between those of the crop's source and, at times, those of the crop itself."""
    low = torch.zeros(len(crop.image))
    high = torch.ones(len(crop.image))
    if rng.random() < share_of_windows and crop.seen.any():
        own = np.percentile(crop.image[:, crop.seen].numpy(), (LOW, HIGH), axis=1).astype(np.float32)
        weight = float(rng.random())
        low, high = (
            edge + weight * (torch.from_numpy(mine) - edge) for edge, mine in zip((low, high), own, strict=True)
        )
    # A crop of nothing but water has no contrast of its own; no scene has its noise stretched over the whole range.
    width = (high - low).clamp(min=0.15)
    image = ((crop.image - low[:, None, None]) / width[:, None, None]).clamp(FLOOR, CEILING)
    return crop._replace(image=torch.where(crop.seen, image, MISSING))


def _vary_fields(
    image: Float[Tensor, "band height width"], crop: Crop, rng: Generator
) -> Float[Tensor, "band height width"]:
    """Every field, and every part of the rest, with a gain, an offset and a contrast of its own, its edge softened.

    A field is cropland that no known rim divides, with its half of the rims around it: the lights of two fields meet
    where their boundary runs. The rest, which may be water and is known by its evenness, is cut at random and varied a
    third as much. A domain randomisation; source of the idea: Tobin et al. 2017, arXiv:1703.06907.
    """
    cropland = (crop.target[0] > 0.5) & crop.valid[0]
    inside = cropland & ~((crop.target[1] > 0.5) & crop.valid[1]) if len(crop.target) > 1 else cropland
    fields, count = ndimage.label(inside.numpy())
    if count:
        nearest = ndimage.distance_transform_edt(fields == 0, return_distances=False, return_indices=True)
        fields = np.where(cropland, fields[tuple(nearest)], 0)
    size = fields.shape[0]
    parts = (_shape(size, rng) + 2 * _shape(size, rng) + 0.5).numpy().astype(np.int64)
    region = np.where(fields > 0, fields + 3, parts).ravel()
    regions, strength = count + 4, np.where(np.arange(count + 4) > 3, 1.0, 1 / 3)
    pixels = np.maximum(np.bincount(region, minlength=regions), 1)
    mean = np.stack([np.bincount(region, band, minlength=regions) / pixels for band in image.flatten(1).numpy()])
    contrast = 1 + strength * (rng.uniform(0.3, 1.3, regions) - 1)
    gain = np.exp(strength * rng.normal(-0.15, 0.35, regions))
    offset = strength * (rng.normal(0, 0.08, regions) + rng.normal(0, 0.03, (len(image), regions)))
    # x -> (mean + contrast (x - mean)) gain + offset, as slope and intercept of each pixel.
    slope, intercept = contrast * gain, mean * (1 - contrast) * gain + offset
    maps = np.concatenate([slope[None, region], intercept[:, region]]).reshape(-1, size, size)
    soft = _blur(torch.from_numpy(maps.astype(np.float32)), float(rng.uniform(0.4, 1.5)))
    return image * soft[:1] + soft[1:]


def _window(length: int, want: int, rng: Generator) -> slice:
    start = int(rng.integers(0, max(0, length - want) + 1))
    return slice(start, min(length, start + want))


def _resize(layers: Float[Tensor, "layer height width"], shape: tuple[int, ...]) -> Float[Tensor, "layer rows columns"]:
    """Averaging when shrinking, bilinear when growing, as on reading a scene."""
    if tuple(layers.shape[1:]) == shape:
        return layers
    return F.interpolate(layers[None], size=shape, mode="bilinear", antialias=True)[0]


def _mirror(layers: Float[Tensor, "layer height width"], size: int, rng: Generator) -> Float[Tensor, "layer size size"]:
    for axis, length in enumerate(layers.shape[1:], 1):
        if length < size:
            layers = layers.index_select(axis, _mirror_index(length, size, rng))
    return layers[:, :size, :size]


def _mirror_index(length: int, size: int, rng: Generator) -> Tensor:
    start = int(rng.integers(0, 2 * length))
    place = (torch.arange(size) + start) % (2 * length)
    return torch.minimum(place, 2 * length - 1 - place)


def _dihedral(layers: Float[Tensor, "layer size size"], rng: Generator) -> Float[Tensor, "layer size size"]:
    turned = torch.rot90(layers, int(rng.integers(4)), (1, 2))
    return turned.flip(2) if rng.random() < 0.5 else turned


def _as_crop(layers: Float[Tensor, "layer size size"], *, bands: int, partly: Sequence[bool], rim: float) -> Crop:
    """Of the values, the labels, and where image and labels are known, for those that are known partly.

    rim: half its width, in pixels of the chip.
    """
    outputs = len(partly) - 1
    known = torch.ones(len(partly), *layers.shape[1:])
    known[torch.tensor(partly)] = layers[bands + outputs :]
    image, labels = layers[:bands] / _weight(known[:1]), layers[bands : bands + outputs] / _weight(known[1:])
    target = labels >= 0.5
    target[1:] = labels[1:] * STEP <= rim
    return Crop(image, known[0] >= 0.5, target.float(), known[1:] >= 0.5)


def _weight(known: Float[Tensor, "layer size size"]) -> Float[Tensor, "layer size size"]:
    return torch.where(known >= 0.5, known, 1.0)


def _beside_edge(shape: Bool[Tensor, "height width"], reach: int) -> Bool[Tensor, "height width"]:
    """Pixels within `reach` of the edge of a shape."""
    values, size = shape.numpy().view(np.uint8), 2 * reach + 1
    return torch.from_numpy(ndimage.maximum_filter(values, size) != ndimage.minimum_filter(values, size))


def _shape(size: int, rng: Generator) -> Float[Tensor, "size size"]:
    """Opacity 0..1 of a random blob, band or half-plane: smooth noise cut at a random level, its rim hard or soft."""
    cells = int(rng.integers(2, 7))
    noise = torch.from_numpy(rng.standard_normal((1, 1, cells, cells), np.float32))
    field = F.interpolate(noise, size=(size, size), mode="bicubic", align_corners=True)[0, 0]
    level = float(np.quantile(field.numpy()[::8, ::8], rng.uniform(0.3, 0.9)))
    rim = float(rng.choice([0.01, 0.05]))
    return ((field - level) / rim + 0.5).clamp(0, 1)


def _column(values: np.ndarray) -> Float[Tensor, "band 1 1"]:
    return torch.from_numpy(values.astype(np.float32))[:, None, None]


def _blur(image: Float[Tensor, "band height width"], sigma: float) -> Float[Tensor, "band height width"]:
    reach = int(np.ceil(2 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    taps = taps / taps.sum()
    padded = F.pad(image[:, None], (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, taps[None, None, None, :])
    return F.conv2d(across, taps[None, None, :, None])[:, 0]
