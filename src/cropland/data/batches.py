"""Batches for training, prepared ahead by threads; every crop is a pure function of (seed, epoch, index)."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.random import Generator
from torch import Tensor

from cropland.data import augment
from cropland.data.augment import Crop, SourceChip
from cropland.data.chips import ChipFolder
from cropland.errors import ChipError
from cropland.progress import prefetch
from cropland.recipe import Recipe

CHIPS_KEPT = 4096  # decoded chips kept in memory, in their own type
MAX_PASTES = 3
PATCH_LIGHT = 2.0  # times the variation of a crop: a lake among fields may be of any colour


class Batch(NamedTuple):
    """Chips as tensors: normalised image, per output target 0 or 1, valid where both pixel and label are known."""

    image: Float[Tensor, "batch band height width"]
    target: Float[Tensor, "batch output height width"]
    valid: Bool[Tensor, "batch output height width"]
    chips: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device, the image in the memory order in which convolutions are fast."""
        image = self.image.to(device, memory_format=torch.channels_last)
        return Batch(image, self.target.to(device), self.valid.to(device), self.chips)

    def part(self, start: int, stop: int) -> Batch:
        """The chips `start` to `stop`."""
        return Batch(self.image[start:stop], self.target[start:stop], self.valid[start:stop], self.chips[start:stop])


def batches(sampler: Sampler, epoch: int, *, first: int = 0, part: slice = slice(None)) -> Iterator[Batch]:
    """The batches of one epoch from number `first` on, in order, prepared ahead by threads; of each the part asked for.

    A thread prepares a whole batch, so that the step takes up one thing and waits for no other thread's turn at Python.
    """
    training = sampler.recipe.training
    numbers = range(first, max(1, training.chips_per_epoch // training.batch))
    work = partial(_batch, sampler, epoch, part)
    return prefetch(work, numbers, threads=min(4, os.cpu_count() or 1), ahead=2)


def _batch(sampler: Sampler, epoch: int, part: slice, number: int) -> Batch:
    size = sampler.recipe.training.batch
    indices = range(number * size, (number + 1) * size)[part]
    crops, names = zip(*(sampler.crop(epoch, index) for index in indices), strict=True)
    images, _seen, targets, valids = (np.stack([*map(Tensor.numpy, layers)]) for layers in zip(*crops, strict=True))
    return Batch(torch.from_numpy(images), torch.from_numpy(targets), torch.from_numpy(valids), names)


class Sampler:
    """Draws crops from a chip folder by a recipe, and the share `training.replay` of them from another folder."""

    def __init__(self, folder: ChipFolder, recipe: Recipe, *, replay: ChipFolder | None = None) -> None:
        self.folder = folder
        self.recipe = recipe
        self.replay = Sampler(replay, _plain(recipe)) if replay else None
        self.order = [folder.bands.index(band) for band in recipe.bands]
        self.ranges = ranges(folder, one_radiometry=recipe.sampling.one_radiometry)
        self.base = group_probabilities(folder, recipe.sampling.groups)
        self.pasted = group_probabilities(folder, recipe.sampling.paste_groups)
        self.base_cdf, self.pasted_cdf = cumulated(self.base), cumulated(self.pasted)
        self.scales = np.tile(recipe.sampling.scale, (len(folder), 1))
        for pattern, scale in recipe.sampling.scales.items():
            self.scales[matching(folder, pattern)] = scale
        amount = recipe.augmentation
        stronger = {name: PATCH_LIGHT * getattr(amount, name) for name in ("gain", "band_gain", "band_offset")}
        self.patch_light = amount.model_copy(update=stronger)
        self.read = lru_cache(CHIPS_KEPT)(self._read)

    @property
    def draws(self) -> Bool[np.ndarray, " chip"]:
        """Which chips are drawn from at all: those of groups with a weight, to crop or to paste."""
        drawn: np.ndarray = (self.base > 0) | ((self.pasted > 0) & (self.recipe.sampling.paste > 0))
        return drawn

    def crop(self, epoch: int, index: int) -> tuple[Crop, str]:
        """The crop of this epoch and index, and the chip it was cut from."""
        rng = np.random.default_rng((self.recipe.training.seed, epoch, index))
        source = self.replay if self.replay and rng.random() < self.recipe.training.replay else self
        return source._crop(rng)

    def _crop(self, rng: Generator) -> tuple[Crop, str]:
        sampling, augmentation = self.recipe.sampling, self.recipe.augmentation
        number, source = self._choose(self.base_cdf, rng)
        scale = self.scales[number]
        pixel_m = augment.draw_pixel(source.pixel_m, (scale[0], scale[1]), limits=sampling.pixel_m, rng=rng)
        rim_m = self.recipe.boundary.width_m
        how: dict[str, Any] = {"pixel_m": pixel_m, "size": sampling.crop, "rim_m": rim_m}
        crop = augment.cut(source, rng=rng, **how)
        if rng.random() < sampling.paste:
            for _time in range(int(rng.integers(1, MAX_PASTES + 1))):
                _number, other = self._choose(self.pasted_cdf, rng)
                patch = augment.vary(augment.cut(other, rng=rng, **how), self.patch_light, rng)
                crop = augment.paste(crop, patch, rng, reach=max(2, ceil(rim_m / 2 / pixel_m)))
        varied = augment.vary(crop, augmentation, rng)
        name = str(self.folder.index["id"].iloc[number])
        return augment.stretch(varied, augmentation.window_percentiles, rng), name

    def _choose(self, cdf: Float[np.ndarray, " chip"], rng: Generator) -> tuple[int, SourceChip]:
        # What Generator.choice does, which adds up the probabilities at each draw.
        number = int(cdf.searchsorted(rng.random(), side="right"))
        return number, self.read(number)

    def _read(self, number: int) -> SourceChip:
        chip = self.folder.read(number, dtype=None)
        low, high = (limits[number, self.order] for limits in self.ranges)
        values = chip.image.values[self.order]
        values = values if values.dtype in (np.uint8, np.uint16) else compact(values.astype(np.float32))
        boundary = chip.boundary if "boundary" in self.recipe.outputs else None
        return SourceChip(values, chip.image.valid, chip.target, boundary, low, high, chip.pixel_m)


def _plain(recipe: Recipe) -> Recipe:
    """The recipe without what it says of single groups of chips."""
    alike = {"groups": {}, "scales": {}, "paste": 0.0, "paste_groups": {}, "one_radiometry": ()}
    return recipe.model_copy(update={"sampling": recipe.sampling.model_copy(update=alike)})


def ranges(
    folder: ChipFolder, *, one_radiometry: Sequence[str] = ()
) -> tuple[Float[np.ndarray, "chip band"], Float[np.ndarray, "chip band"]]:
    """Low and high per chip: its scene's own percentiles, or those pooled over the groups that match a pattern.

    A pool takes the 10 % quantile of the lows and the 90 % quantile of the highs: patches of one collection were
    stretched alike, and a patch of water must not be stretched by itself.
    """
    low, high = (np.stack(folder.index[side].to_list()).astype(np.float32) for side in ("low", "high"))
    for pattern in one_radiometry:
        match = matching(folder, pattern)
        low[match] = np.quantile(low[match], 0.1, axis=0)
        high[match] = np.quantile(high[match], 0.9, axis=0)
    return low, np.maximum(high, low + 1e-6)


def matching(folder: ChipFolder, pattern: str) -> Bool[np.ndarray, " chip"]:
    """Which chips are of a group that matches a pattern with `*`. Raises `ChipError`, naming the groups, if none is."""
    groups = folder.index["group"].astype(str)
    match = np.array([fnmatch.fnmatchcase(group, pattern) for group in groups])
    if not match.any():
        raise ChipError(
            "no training chip of group '{pattern}'; the folder has: {groups}",
            pattern=pattern,
            groups=", ".join(sorted(set(groups))),
        )
    return match


def group_probabilities(folder: ChipFolder, weights: Mapping[str, float]) -> Float[np.ndarray, " chip"]:
    """The probability of each chip: its pattern's weight shared among all chips that match; equal without weights."""
    probability = np.full(len(folder), 0.0 if weights else 1.0)
    for pattern, weight in weights.items():
        match = matching(folder, pattern)
        probability[match] += weight / match.sum()
    probability /= probability.sum()
    return probability


def cumulated(probability: Float[np.ndarray, " chip"]) -> Float[np.ndarray, " chip"]:
    """The probability of each chip or one before it."""
    cdf: np.ndarray = probability.cumsum()
    cdf /= cdf[-1]
    return cdf


def compact(values: Float[np.ndarray, "band height width"]) -> np.ndarray:
    """The same values in the smallest type that holds them, since decoded chips stay in memory."""
    for small in (np.uint8, np.uint16):
        if np.array_equal(cast := values.clip(0, np.iinfo(small).max).astype(small), values):
            return cast
    return values
