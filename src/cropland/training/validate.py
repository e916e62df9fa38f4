"""Validation of the averaged weights, on the validation chips, at each working pixel."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import nn

from cropland.data.chips import Chip, ChipFolder
from cropland.evaluation.calibration import expected_calibration_error, fit_temperature
from cropland.evaluation.counts import best_threshold, count_at, histogram
from cropland.evaluation.judge import Predict, chip_probability, only_bands
from cropland.geo.statistics import Statistics
from cropland.language import _
from cropland.model import WorkingPixel
from cropland.recipe import Recipe

# A chip is not scored at a working pixel that is finer than its own by more than COARSER, nor at one of which fewer
# than LEAST fit along its edge, unless that pixel is about its own.
COARSER = 1.5
LEAST = 64


@dataclass(frozen=True)
class ValidationScore:
    """Validation at each working pixel, and over all of them.

    Threshold and IoU of a working pixel are those of the chips with both classes, since chips of one class hold no edge
    of a field. `iou` is pooled over all chips and averaged over the working pixels; it decides which epoch is best.
    `share` is the predicted share of cropland among the known pixels, at the first working pixel. `levels` is the
    histogram of all chips at all working pixels.
    """

    pixels: tuple[WorkingPixel, ...]
    iou: float
    share: float
    levels: Int64[np.ndarray, "2 255"] = field(default_factory=lambda: np.zeros((2, 255), np.int64), compare=False)

    @property
    def temperature(self) -> float | None:
        """The temperature that makes the probability fit these chips; one for all working pixels."""
        return fit_temperature(self.levels)

    @property
    def calibration_errors(self) -> dict[str, float]:
        """The expected calibration error by its name among the metrics of a model, as it is and with the temperature.

        Empty where there is no temperature.
        """
        if (fitted := self.temperature) is None:
            return {}
        as_it_is, after = (expected_calibration_error(self.levels, temperature=each) for each in (1.0, fitted))
        return {"validation_ece": as_it_is, "validation_ece_calibrated": after}

    @property
    def warning(self) -> str | None:
        """A warning where the model predicts one class only, else None."""
        if not is_one_class(self.share):
            return None
        said = _("the model calls nothing cropland") if self.share < 0.5 else _("the model calls everything cropland")
        return _(
            "{said}: check that the labels lie on the imagery and that both classes are there (share_cropland in "
            "index.parquet), and try a lower training.learning_rate",
            said=said,
        )

    def row(self) -> dict[str, Any]:
        """Plain values for the journal."""
        return {"iou": self.iou, "share": self.share, "pixels": [vars(pixel) for pixel in self.pixels]}


def is_one_class(share: float) -> bool:
    """Whether a prediction with this share of cropland is practically of one class."""
    return not 0.005 < share < 0.995


def validate(network: nn.Module, recipe: Recipe, chips: ChipFolder, statistics: Statistics | None) -> ValidationScore:
    """Score the network on every validation chip at every working pixel that fits it."""
    predict = predictor(network)
    chosen = recipe.validation.working_pixels or (float(f"{chips.index['pixel_m'].median():.3g}"),)
    levels = [_levels(predict, chips, recipe.bands, pixel_m, statistics) for pixel_m in chosen]
    pixels = tuple(_working_pixel(pixel_m, mixed) for pixel_m, (mixed, _) in zip(chosen, levels, strict=True))
    counts = [count_at(every, pixel.threshold) for pixel, (_, every) in zip(pixels, levels, strict=True)]
    first = counts[0]
    share = (first.tp + first.fp) / max(1, first.total)
    return ValidationScore(
        pixels, fmean(count.iou for count in counts), share, np.sum([every for _, every in levels], axis=0)
    )


def predictor(network: nn.Module) -> Predict:
    """The network as a function of normalised arrays, in evaluation mode."""
    device = next(network.parameters()).device
    network.eval()

    @torch.inference_mode()
    def predict(values: Float32[np.ndarray, "band height width"]) -> Float32[np.ndarray, "output height width"]:
        image = torch.from_numpy(values)[None].to(device, memory_format=torch.channels_last)
        logits: np.ndarray = network(image)[0].float().cpu().numpy()
        return logits

    return predict


def _working_pixel(pixel_m: float, levels: np.ndarray) -> WorkingPixel:
    threshold = best_threshold(levels)
    return WorkingPixel(pixel_m, count_at(levels, threshold).iou, threshold)


def _fits(chip: Chip, pixel_m: float) -> bool:
    ratio = pixel_m / chip.pixel_m
    return bool(1 / COARSER <= ratio <= max(COARSER, min(chip.target.shape) / LEAST))


def _levels(
    predict: Predict, chips: ChipFolder, bands: tuple[str, ...], pixel_m: float, statistics: Statistics | None
) -> tuple[np.ndarray, np.ndarray]:
    """Histograms of probability by class, over the chips that hold both classes (all, if none does) and over all."""
    mixed, every = np.zeros((2, 2, 255), np.int64)
    for number in range(len(chips)):
        chip = only_bands(chips.read(number), chips.bands, bands)
        if _fits(chip, pixel_m):
            levels = histogram(chip_probability(chip, predict, pixel_m=pixel_m, statistics=statistics), chip.target)
            every += levels
            mixed += levels if levels.any(1).all() else 0
    return (mixed if mixed.any() else every), every
