"""What a transposed convolution restores, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.blocks.bilinear import bilinear
from cropland.blocks.transposed import transposed as up
from cropland.lab.charts import Bars, Panel, Panels, heat
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, interleave, quartiles, ratio
from cropland.training.device import place_network
from cropland.training.memory import kept_bytes

__all__ = ["transposed"]

EDGE = 12  # of the image whose convolution is written out as a matrix
DRAWS = 64  # random kernels


def transposed(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Matrix, shapes, values, checkerboard, cost."""
    yield _transpose()
    yield _shapes()
    yield _values()
    yield _checkerboard()
    yield _cost(device, budget)


def _transpose() -> Finding:
    kernel, y = _draw(3, 3), _draw(1, 1, EDGE // 2, EDGE // 2)
    matrix = sparse_matrix(kernel, EDGE, stride=2)
    product = (matrix.T @ y.flatten()).reshape(EDGE, EDGE)
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
        matrix, x = sparse_matrix(_draw(3, 3), EDGE, stride=2), _draw(EDGE * EDGE)
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
