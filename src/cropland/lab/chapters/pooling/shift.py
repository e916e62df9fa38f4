"""Whether maps move with the image when it is shifted, and whether the mask of the model that ships does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.blocks.average_pool import average_pool
from cropland.blocks.max_pool import max_pool
from cropland.blocks.strided import strided
from cropland.encoders.plain import Plain
from cropland.evaluation.boundary import boundary, distance_m
from cropland.lab import sample_tile
from cropland.lab.chapters.pooling.halving import antialiased
from cropland.lab.charts import Lines, Panel, Panels, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, interleave, quartiles, ratio
from cropland.model import ModelFile, default_model
from cropland.training.memory import place_network

__all__ = ["pooling_shift", "pooling_shipped"]

DEPTH, WIDTH = 3, 4  # halvings, so that a shift by 8 pixels is a whole pixel of the last map; channels of the first
DRAWS = 5  # of random weights
MARGIN = 48  # pixels at the rim that padding reaches and no comparison uses
SHIFTS = range(9)
Errors = Mapping[str, Tensor]  # of each way to halve: (draw of weights, shift 1 to 8)


DOWNS: dict[str, Callable[[int], nn.Module]] = {
    "max pooling": max_pool,
    "average pooling": average_pool,
    "strided convolution": strided,
    "blur, then every second pixel": antialiased,
    "no halving": lambda channels: nn.Identity(),
}
MAX, AVERAGE, STRIDED, BLURRED, NONE = DOWNS
KEYS = ("error_max", "error_average", "error_strided", "error_blurred", "error_none")

PIXEL_M, MODEL_MARGIN = 2.0, 64  # zeros beyond the edge are felt most within so many pixels of it
NEAR_M = 4.0


def pooling_shift(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """How far maps move along, how little they change, and what a blur helps."""
    images = shifted(sample_tile.normalised(), budget.size + 2 * MARGIN, SHIFTS).to(device)
    drawn = [_maps(images, seed) for seed in range(min(budget.rounds, DRAWS))]
    along, still = (
        {name: torch.stack([compare(maps[name], along=move) for maps in drawn]) for name in DOWNS}
        for move in (True, False)
    )
    yield _equivariance(along, drawn[0], images[0])
    yield _invariance(still)
    yield _antialiased(along, device, budget)


@torch.no_grad()
def _maps(images: Tensor, seed: int) -> dict[str, Tensor]:
    """The last map of an encoder of random weights, back at full size bilinearly, of every shifted image."""
    found = {}
    for name, down in DOWNS.items():
        torch.manual_seed(seed)  # the same weights for every way to halve
        encoder = Plain(3, width=WIDTH, depth=DEPTH)
        encoder.downs = nn.ModuleList(down(channels) for channels in encoder.channels[:-1])
        ready = place_network(encoder, images.device)
        settle(ready, images[:1])
        found[name] = F.interpolate(ready(images)[-1], images.shape[-2:], mode="bilinear")
    return found


def settle(network: nn.Module, image: Tensor) -> None:
    """Let the running statistics be those of one image: shifted images must all be normalised alike."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()(image)
    network.eval()


def compare(maps: Tensor, *, along: bool) -> Tensor:
    """How far the map of every shifted image is from the first, moved along with the image or in place: (shift - 1).

    In standard deviations of the first map: 1.4 would be unrelated maps.
    """
    first = _inside(maps[0], 0, MARGIN)
    spread = (first - first.mean((1, 2), keepdim=True)).square().mean().sqrt()
    others = [_inside(maps[shift], shift if along else 0, MARGIN) for shift in SHIFTS[1:]]
    return torch.stack([(other - first).square().mean().sqrt() / spread for other in others]).cpu()


def _inside(one: Tensor, shift: int, margin: int) -> Tensor:
    """The part that shows the middle of the first image, in what begins or has moved `shift` pixels further right."""
    edge = one.shape[-1]
    return one[..., margin : edge - margin, margin - shift : edge - margin - shift]


def _equivariance(along: Errors, maps: Mapping[str, Tensor], image: Tensor) -> Finding:
    numbers = {key: _worst(along[name]) for key, name in zip(KEYS, DOWNS, strict=True)}
    pictures = (_curves("Maps compared after moving them along", along), _where(maps, image))
    return Finding("pooling_shift.equivariance", {**numbers, "error_at_8": quartiles(along[MAX][:, 7])}, pictures)


def _worst(errors: Tensor) -> Number:
    """The largest error over the shifts, of every draw of the weights."""
    return quartiles(errors.amax(1))


def _curves(title: str, errors: Errors) -> Lines:
    curves = {name: [quartiles(column) for column in its.T] for name, its in errors.items()}
    return Lines(title, "shift in pixels", "difference in standard deviations of the map", list(SHIFTS[1:]), curves)


def _where(maps: Mapping[str, Tensor], image: Tensor) -> Panels:
    """Where the maps fail to follow a shift by half of the coarsest pixel."""
    shown = _inside(image, 0, MARGIN).permute(1, 2, 0).clamp(0, 1).mul(255).byte().cpu().numpy()
    found = {
        name: (_inside(its[4], 4, MARGIN) - _inside(its[0], 0, MARGIN)).abs().mean(0).cpu().numpy()
        for name, its in maps.items()
    }
    high = float(np.quantile(found[MAX], 0.99))
    errors = [Panel(name, heat(values, low=0, high=high)) for name, values in found.items()]
    return Panels("Where the maps do not follow a shift by 4 pixels", [Panel("the image", raster(shown)), *errors])


def _invariance(still: Errors) -> Finding:
    pooled, plain = still[MAX][:, 0], still[NONE][:, 0]
    numbers = {"change_left": quartiles(pooled / plain), "pooled": quartiles(pooled), "plain": quartiles(plain)}
    return Finding("pooling_shift.invariance", numbers, [_curves("Maps compared in place", still)])


@torch.no_grad()
def _antialiased(along: Errors, device: torch.device, budget: Budget) -> Finding:
    image = torch.rand(1, budget.channels, budget.size, budget.size, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    layers = {name: place_network(DOWNS[name](budget.channels), device).eval() for name in (MAX, BLURRED)}
    runs = {name: partial(layer, image) for name, layer in layers.items()}
    times = interleave(runs, device, rounds=budget.rounds)
    numbers = {
        "error_left": quartiles(along[BLURRED].amax(1) / along[MAX].amax(1)),
        "error_left_average": quartiles(along[AVERAGE].amax(1) / along[MAX].amax(1)),
        "slower": ratio(times[BLURRED], times[MAX]),
    }
    return Finding("pooling_shift.antialiased", numbers)


def pooling_shipped(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The mask under shifts of the window."""
    yield _mask(device, budget)


def _mask(device: torch.device, budget: Budget) -> Finding:
    model = ModelFile.load(default_model())
    shifts = [*range(9), model.stride]
    images = shifted(sample_tile.normalised(), budget.size + 2 * MODEL_MARGIN, shifts)
    threshold = model.nearest_pixel(PIXEL_M).threshold
    masks = moved_masks(
        place_network(model.network(), device), images, shifts, limit=math.log(threshold / (1 - threshold))
    )
    changed, first = masks[1:] != masks[0], masks[0].astype(np.uint8)
    shares = changed.mean((1, 2))
    close = distance_m(boundary(first, np.ones_like(first, bool)), (PIXEL_M, PIXEL_M)) <= NEAR_M
    ever = changed[:-1].any(0)
    numbers = {
        "changed": exactly(shares[:-1].max()),
        "stride": exactly(model.stride),
        "whole": exactly(shares[-1]),
        "ever": exactly(ever.mean()),
        "near": exactly((ever & close).sum() / max(1, ever.sum())),
        "area_near": exactly(close.mean()),
    }
    shown = _inside(images[0], 0, MODEL_MARGIN).permute(1, 2, 0).clamp(0, 1).mul(255).byte().numpy()
    panels = Panels(
        "Where the decision depends on where the window begins",
        [
            Panel("the image", raster(np.ascontiguousarray(shown))),
            Panel("the mask", heat(first, low=0, high=1)),
            Panel("in how many of 8 shifts it differs", heat(changed[:-1].sum(0), low=0, high=8)),
        ],
    )
    curves = {"the model that ships": [exactly(share) for share in shares[:-1]]}
    lines = Lines(
        "Pixels that change sides",
        "shift in pixels",
        "share",
        shifts[1:-1],
        curves,
        levels={f"shift by {model.stride} pixels": float(shares[-1])},
    )
    return Finding("pooling_shipped.mask", numbers, [lines, panels])


@torch.inference_mode()
def moved_masks(
    network: nn.Module, images: Tensor, shifts: Sequence[int], *, limit: float
) -> Bool[np.ndarray, "shift rows cols"]:
    """Where the logits reach `limit` in the middle of the first image, as seen in each of the shifted windows."""
    device = next(network.parameters()).device
    logits = (network.eval()(image[None].to(device))[0, 0].cpu() for image in images)
    return np.stack([(_inside(one, by, MODEL_MARGIN) >= limit).numpy() for one, by in zip(logits, shifts, strict=True)])


def shifted(whole: Tensor, edge: int, shifts: Sequence[int]) -> Tensor:
    """Windows in the middle, each as many columns further right as the shifts say: (shift, band, edge, edge)."""
    edge = min(edge, whole.shape[-1] - max(shifts))
    top, left = ((length - edge - more) // 2 for length, more in zip(whole.shape[-2:], (0, max(shifts)), strict=True))
    return torch.stack([whole[:, top : top + edge, left + shift : left + shift + edge] for shift in shifts])
