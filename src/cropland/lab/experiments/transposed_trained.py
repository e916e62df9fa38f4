"""What a transposed convolution does to a trained network: its map, and the spectrum of its logits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from cropland.data.chips import ChipFolder
from cropland.evaluation.predict import chip_probability, only_bands
from cropland.lab.charts import Bars, Lines, Panel, Panels, heat
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, exactly, mean_of_seeds
from cropland.lab.trials import Trial, chip_folder, compare, gain, small_recipe
from cropland.recipe import Recipe
from cropland.training.validate import predictor

__all__ = ["transposed_trained"]

TRANSPOSED, BILINEAR = "transposed convolution", "bilinear"
EDGE = 32  # pixels; whole periods of 2, 4 and 8, the cells of the last three doublings, fit in it


def transposed_trained(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Gain in IoU, and the checkerboard that is left after training."""
    if not budget.seeds:
        for claim in ("better", "checkerboard"):
            yield Finding(f"transposed_trained.{claim}", missing="nothing is trained in a quick run")
        return
    recipes = {TRANSPOSED: small_recipe("network.options.up=transposed"), BILINEAR: small_recipe()}
    chips = chip_folder(budget.chips)
    trials = compare(recipes, chips, device, seeds=budget.seeds, steps=budget.steps)
    yield _better(trials)
    yield _checkerboard(trials, recipes[BILINEAR], chips.where(split="validation"))


def _better(trials: dict[str, list[Trial]]) -> Finding:
    ious = {name: mean_of_seeds([trial.iou for trial in its]) for name, its in trials.items()}
    seconds = zip(trials[TRANSPOSED], trials[BILINEAR], strict=True)
    numbers = {
        "gain": gain(trials[TRANSPOSED], trials[BILINEAR]),
        "iou": ious[BILINEAR],
        "slower": mean_of_seeds([a.seconds[-1] / b.seconds[-1] for a, b in seconds]),
    }
    return Finding("transposed_trained.better", numbers, [Bars("Validation IoU, mean over the seeds", "IoU", ious)])


def _checkerboard(trials: dict[str, list[Trial]], recipe: Recipe, chips: ChipFolder) -> Finding:
    maps = {name: [_logits(trial, recipe, chips) for trial in its] for name, its in trials.items()}
    spectra = {name: [np.mean([spectrum(one) for one in logits], 0) for logits in its] for name, its in maps.items()}
    peaks = {name: [peak(power) for power in its] for name, its in spectra.items()}
    both = zip(peaks[TRANSPOSED], peaks[BILINEAR], strict=True)
    numbers = {
        "stronger": mean_of_seeds([a / b for a, b in both]),
        "transposed": mean_of_seeds(peaks[TRANSPOSED]),
        "bilinear": mean_of_seeds(peaks[BILINEAR]),
        "transposed_at_2": mean_of_seeds([float(power[-1] / power[-3]) for power in spectra[TRANSPOSED]]),
        "bilinear_at_2": mean_of_seeds([float(power[-1] / power[-3]) for power in spectra[BILINEAR]]),
    }
    at = np.arange(1, len(spectra[BILINEAR][0])) / (2 * (len(spectra[BILINEAR][0]) - 1))
    curves = {name: [exactly(power) for power in np.mean(its, 0)[1:]] for name, its in spectra.items()}
    title = "Spectrum of the logits along rows and columns"
    lines = Lines(title, "cycles per pixel (0.5: every second pixel)", "power", list(at), curves, log_y=True)
    return Finding("transposed_trained.checkerboard", numbers, [lines, _shown(maps, chips)])


def _logits(trial: Trial, recipe: Recipe, chips: ChipFolder) -> list[np.ndarray]:
    """Of every chip the logits at the working pixel."""
    predict, kept = predictor(trial.network), list[np.ndarray]()

    def keep(values: np.ndarray) -> np.ndarray:
        kept.append(predict(values))
        return kept[-1]

    for number in range(len(chips)):
        chip = only_bands(chips.read(number), chips.bands, recipe.bands)
        chip_probability(chip, keep, pixel_m=recipe.validation.working_pixels[0])
    return [logits[0] for logits in kept]


def spectrum(logits: np.ndarray) -> np.ndarray:
    """Mean power along rows and columns in windows of 32 pixels: at 0, 1/32 ... 1/2 cycles per pixel."""
    height, width = (size // EDGE * EDGE for size in logits.shape)
    whole = logits[:height, :width]
    strips = np.concatenate([whole.reshape(-1, EDGE), whole.T.reshape(-1, EDGE)])
    level = strips - strips.mean(1, keepdims=True)
    power: np.ndarray = (np.abs(np.fft.rfft(level * np.hanning(EDGE + 1)[:-1], axis=1)) ** 2).mean(0)
    return power


def peak(power: np.ndarray) -> float:
    """How far the lines of periods 4, 8/3 and 2 stand above the frequencies beside them: 1 is no checkerboard."""
    # At 1/8, the first of the third last doubling, a field's own structure is too strong to tell.
    lines, beside = np.log(power[8::4]), np.log(power[6::4])
    around = (beside + np.append(beside[1:], beside[-1])) / 2
    return float(np.exp((lines - around).mean()))


def _shown(maps: dict[str, list[list[np.ndarray]]], chips: ChipFolder) -> Panels:
    """The chip that is most evenly cropland and other, by the first seed."""
    chosen = int((chips.index["share_cropland"] - 0.5).abs().argmin())
    logits = {name: its[0][chosen] for name, its in maps.items()}
    fine = {name: one - gaussian_filter(one, 1.5) for name, one in logits.items()}
    high = float(np.quantile(np.abs(list(fine.values())), 0.99))
    least, most = (float(end) for end in np.quantile(list(logits.values()), (0.01, 0.99)))
    height, width = (slice(size // 4, size - size // 4) for size in logits[BILINEAR].shape)
    panels = []
    for name, one in logits.items():
        panels.append(Panel(f"{name}: logits", _large(one, low=least, high=most)))
        panels.append(
            Panel(
                f"{name}: the middle, what is finer than 3 pixels",
                _large(fine[name][height, width], low=-high, high=high),
            )
        )
    return Panels("Logits of a validation chip", panels)


def _large(values: np.ndarray, *, low: float, high: float) -> str:
    """Every pixel four times as large, so that it can be seen."""
    return heat(np.kron(values, np.ones((4, 4))), low=low, high=high)
