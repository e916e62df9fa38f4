"""What a model says of a chip: its probability on the chip's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from scipy.special import expit

from cropland.data.chips import Chip
from cropland.geo.resample import resample, resampled_length, taps
from cropland.geo.scene import Image
from cropland.geo.statistics import Statistics
from cropland.probability import to_levels

if TYPE_CHECKING:
    from cropland.model import ModelFile

__all__ = ["Judge", "Predict", "at_pixel", "chip_probabilities", "chip_probability", "only_bands", "resized"]

Predict = Callable[[Float32[np.ndarray, "band height width"]], Float32[np.ndarray, "output height width"]]


@dataclass(frozen=True)
class Judge:
    """A model that predicts chips at its working pixel nearest to `working_pixel_m`, or else to each chip's own."""

    model: ModelFile
    predict: Predict
    tolerances_m: Sequence[float]
    working_pixel_m: float | None = None

    def probability(self, chip: Chip) -> tuple[UInt8[np.ndarray, "height width"], float]:
        """The probability on the chip's own grid, and the threshold that goes with it."""
        pixel = self.model.nearest_pixel(self.working_pixel_m or chip.pixel_m)
        statistics = self.model.statistics
        return chip_probability(chip, self.predict, pixel_m=pixel.pixel_m, statistics=statistics), pixel.threshold


def chip_probability(
    chip: Chip, predict: Predict, *, pixel_m: float, statistics: Statistics | None = None
) -> UInt8[np.ndarray, "height width"]:
    """The probability of cropland on the chip's own grid: 0..254 is p x 254, 255 where the chip has no data.

    The chip is predicted whole. `predict` gives the logits of a normalised image, channel 0 cropland; `pixel_m` is the
    model's working pixel. Without `statistics` those of the scene that the chip was cut from are used.
    """
    cropland, *_others = chip_probabilities(chip, predict, pixel_m=pixel_m, statistics=statistics)
    return cropland


def chip_probabilities(
    chip: Chip, predict: Predict, *, pixel_m: float, statistics: Statistics | None = None
) -> list[UInt8[np.ndarray, "height width"]]:
    """As `chip_probability`, of every output."""
    ratio, shape = pixel_m / chip.pixel_m, chip.image.valid.shape
    image = _at(chip.image, ratio, tuple(resampled_length(length, ratio) for length in shape))
    stretch = statistics or Statistics((), chip.low, chip.high)
    logits = predict(stretch.normalise(image.values, image.valid))
    own = _at(Image(expit(logits), np.ones(logits.shape[1:], bool)), 1 / ratio, shape)
    return [to_levels(probability, chip.image.valid) for probability in own.values]


def at_pixel(chip: Chip, pixel_m: float) -> Chip:
    """The chip as a scene of such pixels would show it: its image averaged, its label by the nearest pixel.

    It has no boundary: that is a distance in the pixels that the chip was cut with.
    """
    ratio = pixel_m / chip.pixel_m
    shape = tuple(resampled_length(length, ratio) for length in chip.target.shape)
    image = _at(chip.image, ratio, shape)
    return replace(chip, image=image, target=resized(chip.target, shape), boundary=None, pixel_m=pixel_m)


def resized(values: Shaped[np.ndarray, "height width"], shape: tuple[int, ...]) -> Shaped[np.ndarray, "row column"]:
    """Values by the nearest pixel, on a grid of another shape over the same ground."""
    rows, columns = ((np.arange(new) + 0.5) * old / new for new, old in zip(shape, values.shape, strict=True))
    nearest: np.ndarray = values[rows.astype(int)[:, None], columns.astype(int)]
    return nearest


def only_bands(chip: Chip, has: Sequence[str], wants: Sequence[str]) -> Chip:
    """The chip with the bands `wants`, in that order; `has` names its own."""
    order = [list(has).index(band) for band in wants]
    low, high = (tuple(limits[band] for band in order) for limits in (chip.low, chip.high))
    image = Image(chip.image.values[order], chip.image.valid, chip.image.grid, tuple(wants))
    return replace(chip, image=image, low=low, high=high)


def _at(image: Image, ratio: float, shape: tuple[int, ...]) -> Image:
    """The image at pixels `ratio` times as large, resampled as `Scene.read` does a whole scene."""
    if ratio == 1:
        return image
    rows, cols = (
        taps(ratio, start=0, count=count, length=length) for count, length in zip(shape, image.valid.shape, strict=True)
    )
    values, valid = resample(image.values, None if image.valid.all() else image.valid, rows=rows, cols=cols)
    return Image(values, np.ones(values.shape[1:], bool) if valid is None else valid)
