"""What a transposed convolution restores and what it does not, and what it does to a trained network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import fmean

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.blocks.bilinear import bilinear
from cropland.blocks.transposed import transposed as up
from cropland.data.chips import ChipFolder
from cropland.evaluation.judge import chip_probability, only_bands
from cropland.lab.charts import Bars, Lines, Panel, Panels, heat
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, interleave, mean_of_seeds, quartiles, ratio
from cropland.lab.trials import Trial, chip_folder, compare, gain, small_recipe
from cropland.recipe import Recipe
from cropland.training.memory import kept_bytes, place_network
from cropland.training.validate import predictor

__all__ = ["transposed", "transposed_trained"]

MATRIX_EDGE = 12  # of the image whose convolution is written out as a matrix
DRAWS = 64  # random kernels

TRANSPOSED, BILINEAR = "transposed convolution", "bilinear"
STRIP = 32  # pixels; whole periods of 2, 4 and 8, the cells of the last three doublings, fit in it


def transposed(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Matrix, shapes, values, checkerboard, cost."""
    yield _transpose()
    yield _shapes()
    yield _values()
    yield _checkerboard()
    yield _cost(device, budget)


def _transpose() -> Finding:
    kernel, y = _draw(3, 3), _draw(1, 1, MATRIX_EDGE // 2, MATRIX_EDGE // 2)
    matrix = sparse_matrix(kernel, MATRIX_EDGE, stride=2)
    product = (matrix.T @ y.flatten()).reshape(MATRIX_EDGE, MATRIX_EDGE)
    turned = F.conv_transpose2d(y, kernel[None, None], stride=2, padding=1, output_padding=1)[0, 0]
    error = float((product - turned).abs().max())
    filled = float((matrix != 0).double().mean())
    picture = Panels(
        "The convolution as a matrix: a row per output pixel, a column per input pixel",
        [Panel("the matrix C", heat(matrix.abs().numpy())), Panel("its transpose", heat(matrix.T.abs().numpy()))],
    )
    return Finding("transposed.transpose", {"error": exactly(error), "filled": exactly(filled)}, [picture])


def sparse_matrix(kernel: Tensor, edge: int, *, stride: int) -> Tensor:
    """C with vec(conv(x)) = C vec(x) for an image of edge x edge, padded by half the kernel."""
    units = torch.eye(edge * edge, dtype=kernel.dtype).reshape(-1, 1, edge, edge)
    return F.conv2d(units, kernel[None, None], stride=stride, padding=kernel.shape[0] // 2).flatten(1).T


def _shapes() -> Finding:
    sizes = range(16, 64)
    down, back = nn.Conv2d(1, 1, 3, 2, 1), nn.ConvTranspose2d(1, 1, 3, 2, 1)
    found = [down(torch.zeros(1, 1, size, size)) for size in sizes]
    plain = [back(y).shape[-1] == size for size, y in zip(sizes, found, strict=True)]
    told = [back(y, output_size=[size, size]).shape[-1] == size for size, y in zip(sizes, found, strict=True)]
    return Finding("transposed.shapes", {"restored": exactly(fmean(plain)), "told": exactly(fmean(told))})


def _values() -> Finding:
    """Of random images the share that C'C gives back at its best scale, and that the pseudo-inverse gives back."""
    crossed, inverted = [], []
    for _ in range(DRAWS):
        matrix, x = sparse_matrix(_draw(3, 3), MATRIX_EDGE, stride=2), _draw(MATRIX_EDGE * MATRIX_EDGE)
        crossed.append(_recovered(matrix.T @ (matrix @ x), x))
        inverted.append(_recovered(torch.linalg.pinv(matrix) @ (matrix @ x), x))
    numbers = {"transposed": quartiles(crossed), "inverse": quartiles(inverted)}
    bars = Bars(
        "Share of an image's energy that comes back",
        "share",
        {"transposed convolution": numbers["transposed"], "pseudo-inverse, the best there is": numbers["inverse"]},
        level=1.0,
    )
    return Finding("transposed.values", numbers, [bars])


def _recovered(found: Tensor, x: Tensor) -> float:
    """The share of x's energy that the best multiple of `found` explains."""
    return float((found @ x) ** 2 / ((found @ found) * (x @ x)))


def _checkerboard() -> Finding:
    """How unevenly the output pixels are covered where the input is flat, and what random kernels add."""
    ups = {f"kernel {k}, stride 2": nn.ConvTranspose2d(1, 1, k, 2) for k in (2, 3, 4, 5)}
    plain = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(1, 1, 3, padding=1))
    layers: dict[str, nn.Module] = {**ups, "bilinear and convolution": plain}
    even = {name: _alternating(layer, low=1.0) for name, layer in layers.items()}
    drawn = {name: _alternating(layer, low=0.0) for name, layer in layers.items()}
    numbers = {
        "odd": even["kernel 3, stride 2"],
        "even": even["kernel 2, stride 2"],
        "drawn": drawn["kernel 2, stride 2"],
        "bilinear": drawn["bilinear and convolution"],
    }
    covered = [Panel(name, heat(_flat(layer), low=0)) for name, layer in ups.items()]
    pictures = (
        Bars("Alternating share on a flat input, equal weights", "share", even),
        Bars("Alternating share on a flat input, random positive weights", "share", drawn),
        Panels("How often each output pixel is covered", covered),
    )
    return Finding("transposed.checkerboard", numbers, pictures)


@torch.no_grad()
def _flat(layer: nn.Module) -> np.ndarray:
    """What equal weights make of a flat image: how often each pixel is covered."""
    for weight in layer.parameters():
        weight.fill_(1.0) if weight.dim() > 1 else weight.zero_()
    covered: np.ndarray = layer(torch.ones(1, 1, 8, 8))[0, 0].numpy()
    return covered


@torch.no_grad()
def _alternating(layer: nn.Module, *, low: float) -> Number:
    """Amplitude at the frequencies of period 2 as a share of the mean, over positive kernels from `low` to 1."""
    found = []
    for _ in range(DRAWS):
        for weight in layer.parameters():
            weight.uniform_(low, 1) if weight.dim() > 1 else weight.zero_()
        spectrum = torch.fft.fft2(layer(torch.ones(1, 1, 24, 24))[0, 0, 8:40, 8:40]).abs()
        half = len(spectrum) // 2
        found.append(float((spectrum[0, half] + spectrum[half, 0] + spectrum[half, half]) / spectrum[0, 0]))
    return quartiles(found)


@torch.no_grad()
def _cost(device: torch.device, budget: Budget) -> Finding:
    channels, edge = budget.channels, budget.size // 2
    turned, plain = (place_network(make(channels, channels // 2), device).eval() for make in (up, bilinear))
    image = torch.randn(1, channels, edge, edge, device=device).contiguous(memory_format=torch.channels_last)
    runs = {"transposed convolution": partial(turned, image), "1 x 1 convolution, then bilinear": partial(plain, image)}
    times = interleave(runs, device, rounds=budget.rounds)
    with torch.enable_grad():
        kept = [exactly(kept_bytes(layer, image.clone().requires_grad_()) / 1e6) for layer in (turned, plain)]
    fast, slow = times.values()
    numbers = {"speedup": ratio(slow, fast), "kept": kept[0], "kept_bilinear": kept[1]}
    bars = {name: its.ms for name, its in times.items()}
    return Finding("transposed.cost", numbers, [Bars("Doubling the size", "milliseconds", bars)])


def _draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


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
    yield _trained_checkerboard(trials, recipes[BILINEAR], chips.where(split="validation"))


def _better(trials: dict[str, list[Trial]]) -> Finding:
    ious = {name: mean_of_seeds([trial.iou for trial in its]) for name, its in trials.items()}
    seconds = zip(trials[TRANSPOSED], trials[BILINEAR], strict=True)
    numbers = {
        "gain": gain(trials[TRANSPOSED], trials[BILINEAR]),
        "iou": ious[BILINEAR],
        "slower": mean_of_seeds([a.seconds[-1] / b.seconds[-1] for a, b in seconds]),
    }
    return Finding("transposed_trained.better", numbers, [Bars("Validation IoU, mean over the seeds", "IoU", ious)])


def _trained_checkerboard(trials: dict[str, list[Trial]], recipe: Recipe, chips: ChipFolder) -> Finding:
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
    height, width = (size // STRIP * STRIP for size in logits.shape)
    whole = logits[:height, :width]
    strips = np.concatenate([whole.reshape(-1, STRIP), whole.T.reshape(-1, STRIP)])
    level = strips - strips.mean(1, keepdims=True)
    power: np.ndarray = (np.abs(np.fft.rfft(level * np.hanning(STRIP + 1)[:-1], axis=1)) ** 2).mean(0)
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
