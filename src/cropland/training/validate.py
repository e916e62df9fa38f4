"""Validation of the averaged weights, on the validation chips, at each working pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, UInt8
from torch import nn

from cropland.data.boundary import STEP, half_rim
from cropland.data.chips import Chip, ChipFolder
from cropland.data.labels import UNKNOWN
from cropland.evaluation.calibration import expected_calibration_error, fit_temperature
from cropland.evaluation.counts import best_threshold, count_at, histogram
from cropland.evaluation.judge import Predict, chip_probabilities, only_bands
from cropland.geo.statistics import Statistics
from cropland.language import _
from cropland.model import WorkingPixel
from cropland.probability import ONE
from cropland.recipe import Precision, Recipe
from cropland.training.distributed import Processes
from cropland.training.memory import autocast

# A chip is not scored at a working pixel that is finer than its own by more than COARSER, nor at one of which fewer
# than LEAST fit along its edge, unless that pixel is about its own.
COARSER = 1.5
LEAST = 64


@dataclass(frozen=True)
class ValidationScore:
    """Validation over places, which are the groups of the chips, each chip at the working pixel nearest to its own.

    `iou` is the mean over the places with both classes; those with one class count together as one more place, by
    their share of right pixels. It decides which epoch is best, and the one threshold of all working pixels. `pixels`
    have the mean IoU over the places with both classes that were scored at that pixel, coarser chips aside. `share` is
    the predicted share of cropland among the known pixels. `levels` is the histogram of all chips. `boundary_iou` is
    that of the rims, at the best threshold; nan without the output or without a known boundary. `places` has the IoU
    of each place, or its share of right pixels where it has one class.
    """

    pixels: tuple[WorkingPixel, ...]
    iou: float
    share: float
    levels: Int64[np.ndarray, "2 255"] = field(default_factory=lambda: np.zeros((2, 255), np.int64), compare=False)
    boundary_iou: float = math.nan
    places: Mapping[str, float] = field(default_factory=dict)

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
        boundary = {} if math.isnan(self.boundary_iou) else {"boundary_iou": self.boundary_iou}
        pixels = [vars(pixel) for pixel in self.pixels]
        return {"iou": self.iou, "share": self.share, "pixels": pixels, "places": dict(self.places), **boundary}


def is_one_class(share: float) -> bool:
    """Whether a prediction with this share of cropland is practically of one class."""
    return not 0.005 < share < 0.995


def validate(
    network: nn.Module,
    recipe: Recipe,
    chips: ChipFolder,
    statistics: Statistics | None,
    *,
    threshold: float | None = None,
    among: Processes = Processes(),  # noqa: B008 - frozen
) -> ValidationScore:
    """Score the network on every validation chip at every working pixel that fits it; several processes share the
    chips, and each has the whole score.

    threshold: the one to score at; the best on these chips if not given.
    """
    predict = predictor(network, precision=recipe.training.precision)
    chosen = recipe.validation.working_pixels or (float(f"{chips.index['pixel_m'].median():.3g}"),)
    places, place = np.unique(chips.index["group"].astype(str), return_inverse=True)
    fitting = np.zeros((len(chosen), len(places), 2, 255), np.int64)  # histograms at every pixel that fits a chip
    nearest = np.zeros((len(places), 2, 255), np.int64)  # and at the one that a map of it would be made at
    rims = np.zeros((2, 255), np.int64)
    for number in range(among.rank, len(chips), among.count):
        chip = only_bands(chips.read(number), chips.bands, recipe.bands)
        best = min(chosen, key=lambda pixel_m: abs(math.log(pixel_m / chip.pixel_m)))
        for size, pixel_m in enumerate(chosen):
            if pixel_m != best and not fits(chip, pixel_m):
                continue
            cropland, *others = chip_probabilities(chip, predict, pixel_m=pixel_m, statistics=statistics)
            levels = histogram(cropland, chip.target)
            fitting[size, place[number]] += levels
            if pixel_m == best:
                nearest[place[number]] += levels
                if others and chip.boundary is not None:
                    rims += histogram(others[0], _rim(chip, recipe.boundary.width_m, pixel_m=pixel_m))
    fitting, nearest, rims = map(among.total, (fitting, nearest, rims))
    means = mean_over_places(nearest)
    if threshold is None:
        best_level = max(range(len(means)), key=lambda level: (means[level], -abs(level + 0.5 - ONE / 2)))
        threshold = (best_level + 0.5) / ONE
    else:
        best_level = min(len(means) - 1, max(0, round(threshold * ONE - 0.5)))
    every = count_at(nearest.sum(0), threshold)
    return ValidationScore(
        tuple(
            WorkingPixel(pixel_m, float(mean_over_places(_mixed(levels))[best_level]), threshold)
            for pixel_m, levels in zip(chosen, fitting, strict=True)
        ),
        float(means[best_level]),
        (every.tp + every.fp) / max(1, every.total),
        nearest.sum(0),
        count_at(rims, best_threshold(rims)).iou if rims.any(1).all() else math.nan,
        {
            name: float(mean_over_places(one[None])[best_level])
            for name, one in zip(places.tolist(), nearest, strict=True)
        },
    )


def mean_over_places(levels: Int64[np.ndarray, "place 2 255"]) -> Float64[np.ndarray, " threshold"]:
    """The mean over places at the thresholds midway between levels, 0.5 / 254 to 253.5 / 254, from their histograms.

    A place with both classes counts by its IoU; those with one class count together as one place, by their share of
    right pixels.
    """
    fp, tp = levels[:, :, :0:-1].cumsum(2)[:, :, ::-1].swapaxes(0, 1).astype(np.float64)
    other, cropland = levels.sum(2).T[:, :, None]
    both = ((other > 0) & (cropland > 0))[:, 0]
    known = (other + cropland > 0)[:, 0] & ~both
    parts = [*(tp[both] / (cropland + fp)[both])]
    if known.any():
        parts.append(((tp + other - fp)[known] / (other + cropland)[known]).mean(0))
    return np.mean(parts, axis=0) if parts else np.zeros(levels.shape[2] - 1)


def _mixed(levels: Int64[np.ndarray, "place 2 255"]) -> Int64[np.ndarray, "place 2 255"]:
    """The places that have both classes; all, if none has."""
    both = (levels.sum(2) > 0).all(1)
    return levels[both] if both.any() else levels


def _rim(chip: Chip, width_m: float, *, pixel_m: float) -> UInt8[np.ndarray, "height width"]:
    """1 within the rim of a field, 0 outside, 255 where that is not known."""
    assert chip.boundary is not None
    within = chip.boundary * STEP <= half_rim(width_m, chip_m=chip.pixel_m, pixel_m=pixel_m)
    return np.where(chip.boundary == UNKNOWN, np.uint8(UNKNOWN), within).astype(np.uint8)


def predictor(network: nn.Module, *, precision: Precision = "float32") -> Predict:
    """The network as a function of normalised arrays, in evaluation mode."""
    device = next(network.parameters()).device
    network.eval()

    @torch.inference_mode()
    def predict(values: Float32[np.ndarray, "band height width"]) -> Float32[np.ndarray, "output height width"]:
        image = torch.from_numpy(values)[None].to(device, memory_format=torch.channels_last)
        with autocast(device, precision):
            logits: np.ndarray = network(image)[0].float().cpu().numpy()
        return logits

    return predict


def fits(chip: Chip, pixel_m: float) -> bool:
    """Whether a chip can be scored at a working pixel that need not be the one nearest to its own."""
    ratio = pixel_m / chip.pixel_m
    return bool(1 / COARSER <= ratio <= max(COARSER, min(chip.target.shape) / LEAST))
