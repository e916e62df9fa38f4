"""How far an atrous convolution sees, how much of that counts, and what spreading its taps costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.blocks.atrous import Atrous
from cropland.blocks.separable import Separable
from cropland.blocks.strided import strided
from cropland.lab import sample_tile
from cropland.lab.charts import Box, Lines, Panel, Panels, heat
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, interleave, quartiles, ratio
from cropland.streaming.receptive_field import field
from cropland.training.memory import place_network

__all__ = ["atrous", "atrous_cost"]

DRAWS = 8  # random networks whose gradients are averaged
HELD = 0.95  # of the squared gradient lie in the effective field
DEPTH = 6  # layers of one rate
SPREAD = (1, 2, 5)  # rates of three layers that leave no gap

RATE = 4  # of the picture that is taken apart


def atrous(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Field, and the share of it that counts."""
    torch.manual_seed(0)  # a draw whose units are all dead has no gradient at all
    yield _field(device, budget)
    yield _effective(device, budget)


def _field(device: torch.device, budget: Budget) -> Finding:
    rates = (1, *budget.sweep((2, 3, 4, 6, 8)))
    exact = {rate: exactly(exact_edge((rate,) * DEPTH)) for rate in rates}
    seen = {rate: _effective_edge((rate,) * DEPTH, device, budget.channels) for rate in rates}
    plain, spread = (_gradients(chosen, device, budget.channels) for chosen in ((1, 1, 1), SPREAD))
    numbers = {
        "wider": exactly(exact_edge(SPREAD) / exact_edge((1, 1, 1))),
        "wider_effective": quartiles(edge(b) / edge(a) for a, b in zip(plain, spread, strict=True)),
        "extra": exactly(parameters(SPREAD, budget.channels) / parameters((1, 1, 1), budget.channels) - 1),
        "parameters": exactly(parameters(SPREAD, budget.channels)),
    }
    curves = {"exact field": list(exact.values()), "effective field": list(seen.values())}
    lines = Lines(f"{DEPTH} layers of the same rate", "rate", "edge of the field in pixels", rates, curves)
    taken = ((1, 1, 1), (2, 2, 2), SPREAD)
    panels = [_picture(chosen, _gradients(chosen, device, budget.channels)) for chosen in taken]
    return Finding("atrous.field", numbers, [Panels("Which input pixels move one output pixel", panels), lines])


def _effective(device: torch.device, budget: Budget) -> Finding:
    """Exact and effective field of stacks of ordinary layers, by their number."""
    depths = (1, *budget.sweep((2, 4, 8, 12, 16)))
    exact = [exactly(exact_edge((1,) * depth)) for depth in depths]
    seen = [_effective_edge((1,) * depth, device, budget.channels) for depth in depths]
    used = quartiles((end / exact[-1].value) ** 2 for end in (seen[-1].low, seen[-1].value, seen[-1].high))
    curves: dict[str, Sequence[Number | None]] = {"exact field": exact, "effective field": seen}
    lines = Lines("Layers of rate 1 on each other", "layers", "edge of the field in pixels", depths, curves)
    numbers = {"used": used, "exact": exact[-1], "seen": seen[-1], "layers": exactly(depths[-1])}
    deep = (1,) * depths[-1]
    panels = [_picture(chosen, _gradients(chosen, device, budget.channels)) for chosen in (deep, (1, 2, 4, 8))]
    return Finding("atrous.effective", numbers, [lines, Panels("Which input pixels move one output pixel", panels)])


def stack(rates: Sequence[int], channels: int) -> nn.Module:
    """Atrous blocks on each other, with random weights, one channel in."""
    ends = [1, *[channels] * len(rates)]
    return nn.Sequential(*(Atrous(a, b, rate=r) for a, b, r in zip(ends, ends[1:], rates, strict=False))).eval()


def parameters(rates: Sequence[int], channels: int) -> int:
    """All that the stack learns."""
    return sum(weight.numel() for weight in stack(rates, channels).parameters())


@cache
def exact_edge(rates: tuple[int, ...]) -> int:
    """Edge of the square that the output may depend on, in pixels, by interval arithmetic."""
    radius = field(stack(rates, 2), 1).radius
    assert radius is not None, "a stack of convolutions is bounded"
    return 2 * radius + 1


@cache
def _gradients(rates: tuple[int, ...], device: torch.device, channels: int) -> Tensor:
    """Squared gradient of the middle output pixel by each input pixel, (draw, row, column), summing to 1 per draw.

    Source: Luo et al. 2016, arXiv:1701.04128.
    """
    length, found = exact_edge(rates), []
    for _ in range(DRAWS):
        image = torch.randn(1, 1, length, length, device=device, requires_grad=True)
        output = place_network(stack(rates, channels), device)(image)[0, :, length // 2, length // 2]
        (gradient,) = torch.autograd.grad(output @ torch.randn_like(output), image)
        found.append(gradient[0, 0].double().cpu().square())
    return torch.stack([one / one.sum() for one in found])


def edge(squared: Tensor) -> int:
    """Edge in pixels of the smallest square about the middle that holds most of the squared gradient."""
    middle = len(squared) // 2
    sums = (squared[middle - r : middle + r + 1, middle - r : middle + r + 1].sum() for r in range(middle + 1))
    return 2 * next(radius for radius, total in enumerate(sums) if total >= HELD * squared.sum()) + 1


def _effective_edge(rates: tuple[int, ...], device: torch.device, channels: int) -> Number:
    return quartiles(edge(one) for one in _gradients(rates, device, channels))


def _picture(rates: Sequence[int], gradients: Tensor) -> Panel:
    shown, span = gradients.mean(0).sqrt().numpy(), 41
    image = np.pad(shown, max(0, (span - len(shown)) // 2))
    named = f"rates {'-'.join(map(str, rates))}" if len(rates) < 6 else f"{len(rates)} layers of rate 1"
    edges = {"exact field": len(shown), "effective field": edge(gradients.mean(0))}
    boxes = [Box(name, 0.5, 0.5, length / len(image)) for name, length in edges.items()]
    return Panel(named, heat(image, low=0), boxes=boxes)


def atrous_cost(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Size of the output, time."""
    yield _shape(device)
    yield _time(device, budget)


@torch.no_grad()
def _shape(device: torch.device) -> Finding:
    image = sample_tile.grey(176, row=600, column=420)
    kernel = torch.full((1, 1, 3, 3), -0.125)
    kernel[..., 1, 1] = 1
    whole = F.conv2d(image, kernel, padding=RATE, dilation=RATE)
    coarse = F.conv2d(phases(image, RATE), kernel, padding=1)
    layers = {"atrous": Atrous(1, 1, rate=RATE), "strided": strided(1)}
    outputs = {name: place_network(layer, device).eval()(image.to(device)) for name, layer in layers.items()}
    numbers = {
        **{name: exactly(1 - output.numel() / image.numel()) for name, output in outputs.items()},
        "error": exactly(float((together(coarse, RATE) - whole).abs().max())),
    }
    panels = [
        Panel("the image", heat(image[0, 0].numpy(), colours="gray")),
        Panel(
            f"what rate {RATE} reads: {RATE * RATE} coarse images", heat(mosaic(phases(image, RATE)), colours="gray")
        ),
        Panel("an ordinary convolution of each", heat(mosaic(coarse.abs()), low=0, high=0.5)),
        Panel("put back: the atrous convolution", heat(whole[0, 0].abs().numpy(), low=0, high=0.5)),
    ]
    return Finding("atrous_cost.shape", numbers, [Panels("An atrous convolution taken apart", panels)])


def phases(image: Tensor, rate: int) -> Tensor:
    """Every `rate`-th pixel of (1, 1, height, width), from each of rate x rate starts: (rate * rate, 1, ., .)."""
    return F.pixel_unshuffle(image, rate).transpose(0, 1)


def together(coarse: Tensor, rate: int) -> Tensor:
    """The opposite of `phases`."""
    return F.pixel_shuffle(coarse.transpose(0, 1), rate)


def mosaic(coarse: Tensor) -> np.ndarray:
    """Coarse images (number, 1, rows, columns) beside each other in a square, a line between them."""
    side = round(len(coarse) ** 0.5)
    framed = F.pad(coarse[:, 0], (0, 1, 0, 1), value=float(coarse.max())).numpy()
    rows = [np.concatenate(framed[start : start + side], 1) for start in range(0, len(framed), side)]
    return np.concatenate(rows, 0)


@torch.no_grad()
def _time(device: torch.device, budget: Budget) -> Finding:
    rates, channels = (1, *budget.sweep((2, 4, 6, 8, 12, 18))), budget.channels
    image = torch.randn(1, channels, budget.size, budget.size, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    layers = {f"{rate}": place_network(Atrous(channels, channels, rate=rate), device).eval() for rate in rates}
    light = {f"depthwise {r}": place_network(Separable(channels, channels, rate=r), device).eval() for r in rates}
    runs = {name: (lambda layer=layer: layer(image)) for name, layer in (layers | light).items()}
    times = interleave(runs, device, rounds=budget.rounds)
    curves = {
        "atrous": [times[f"{rate}"].ms for rate in rates],
        "depthwise separable": [times[f"depthwise {rate}"].ms for rate in rates],
    }
    last = rates[-1]
    numbers = {
        "slower": ratio(times[f"{last}"], times["1"]),
        "slower_separable": ratio(times[f"depthwise {last}"], times["depthwise 1"]),
        "rate": exactly(last),
    }
    return Finding("atrous_cost.time", numbers, [Lines("Forward time", "rate", "milliseconds", rates, curves)])
