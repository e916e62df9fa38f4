"""Augmentation: one training crop from chips, a pure function of the random generator that is passed in.

Image, label and validity always change together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from cropland.geo.statistics import CEILING, FLOOR, HIGH, LOW, MISSING
from cropland.recipe import Augmentation, Sampling


class Crop(NamedTuple):
    """Values between 0 and 1 of the source's range, the share of cropland 0..1, and where both are known."""

    image: Float[Tensor, "band height width"]
    target: Float[Tensor, "height width"]
    valid: Bool[Tensor, "height width"]


@dataclass(frozen=True)
class SourceChip:
    """A chip that crops are cut from: raw values with the low and high percentile of its source, and its label."""

    values: np.ndarray  # (band, height, width), the chip's own type
    known: np.ndarray  # bool (height, width): the pixel is valid and its label known
    target: np.ndarray  # uint8 (height, width), 0 or 1 where known
    low: Float[np.ndarray, " band"]
    high: Float[np.ndarray, " band"]
    pixel_m: float


def draw_pixel(source: SourceChip, sampling: Sampling, rng: Generator) -> float:
    """A pixel size in metres: the chip's times a log-uniform scale, within the recipe's limits."""
    scale = np.exp(rng.uniform(*np.log(sampling.scale)))
    return float(np.clip(source.pixel_m * scale, *sampling.pixel_m))


def cut(source: SourceChip, *, pixel_m: float, size: int, rng: Generator) -> Crop:
    """A square crop of `size` pixels of `pixel_m` metres from a random place, turned or mirrored at random.

    Where the chip is too small, its mirror image fills the rest, which has no seam.
    """
    ratio = pixel_m / source.pixel_m
    want = max(1, round(size * ratio))
    rows, columns = (_window(length, want, rng) for length in source.target.shape)
    low, high = source.low[:, None, None], source.high[:, None, None]
    values = (source.values[:, rows, columns].astype(np.float32) - low) / (high - low)
    known = source.known[rows, columns].astype(np.float32)
    target = source.target[rows, columns].astype(np.float32) * known
    layers = torch.from_numpy(np.concatenate([values * known, target[None], known[None]]))
    shape = tuple(max(1, round((part.stop - part.start) / ratio)) for part in (rows, columns))
    return _as_crop(_dihedral(_mirror(_resize(layers, shape), size, rng), rng))


def paste(base: Crop, other: Crop, rng: Generator) -> Crop:
    """`other` pasted over `base` within a random smooth shape; where `other` is not known, `base` stays."""
    alpha = _shape(base.target.shape[-1], rng) * other.valid
    mixed = base.image * (1 - alpha) + other.image * alpha
    covered = alpha > 0.5
    return Crop(mixed, torch.where(covered, other.target, base.target), torch.where(covered, other.valid, base.valid))


def vary(crop: Crop, amount: Augmentation, rng: Generator) -> Crop:
    """The same ground in another light, air, sensor and focus."""
    image = crop.image
    bands = len(image)
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
    if rng.random() < share_of_windows and crop.valid.any():
        own = np.percentile(crop.image[:, crop.valid].numpy(), (LOW, HIGH), axis=1).astype(np.float32)
        weight = float(rng.random())
        low, high = (
            edge + weight * (torch.from_numpy(mine) - edge) for edge, mine in zip((low, high), own, strict=True)
        )
    # A crop of nothing but water has no contrast of its own; no scene has its noise stretched over the whole range.
    width = (high - low).clamp(min=0.15)
    image = ((crop.image - low[:, None, None]) / width[:, None, None]).clamp(FLOOR, CEILING)
    return crop._replace(image=torch.where(crop.valid, image, MISSING))


def _window(length: int, want: int, rng: Generator) -> slice:
    start = int(rng.integers(0, max(0, length - want) + 1))
    return slice(start, min(length, start + want))


def _resize(layers: Float[Tensor, "layer height width"], shape: tuple[int, ...]) -> Float[Tensor, "layer rows columns"]:
    """Averaging when shrinking, bilinear when growing, as on reading a scene."""
    if tuple(layers.shape[1:]) == shape:
        return layers
    return F.interpolate(layers[None], size=shape, mode="bilinear", antialias=True)[0]


def _mirror(layers: Float[Tensor, "layer height width"], size: int, rng: Generator) -> Float[Tensor, "layer size size"]:
    rows, columns = (_mirror_index(length, size, rng) for length in layers.shape[1:])
    return layers[:, rows][:, :, columns]


def _mirror_index(length: int, size: int, rng: Generator) -> Tensor:
    start = 0 if length >= size else int(rng.integers(0, 2 * length))
    place = (torch.arange(size) + start) % (2 * length)
    return torch.minimum(place, 2 * length - 1 - place)


def _dihedral(layers: Float[Tensor, "layer size size"], rng: Generator) -> Float[Tensor, "layer size size"]:
    turned = torch.rot90(layers, int(rng.integers(4)), (1, 2))
    return turned.flip(2) if rng.random() < 0.5 else turned


def _as_crop(layers: Float[Tensor, "layer size size"]) -> Crop:
    image, target, known = layers[:-2], layers[-2], layers[-1]
    valid = known >= 0.5
    weight = torch.where(valid, known, 1.0)
    return Crop(image / weight, (target / weight >= 0.5).float(), valid)


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
