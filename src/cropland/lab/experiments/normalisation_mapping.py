"""Normalisation in mapping: eval() forgotten, tiles against the whole image, folding into the convolution."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cropland.blocks.convolution import Convolution
from cropland.geo.tiles import tiles
from cropland.lab.charts import Bars, Panel, Panels, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.experiments.normalisation import tile_image
from cropland.lab.measure import Budget, exactly, interleave, ratio
from cropland.model import Model, default_model
from cropland.networks.unet import UNet
from cropland.receptive_field import field
from cropland.training.device import place_network

__all__ = ["normalisation_mapping"]

NORMS = ("batch_norm", "channel_norm", "group_norm")
WINDOW = 64  # pixels, of the windows that are mapped one by one with eval() forgotten
PIXEL_M = 2.0  # of the image
NONE = "torch.nn:Identity"


@torch.no_grad()
def normalisation_mapping(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """What eval() changes in a map, which norms leave tiles equal to the whole, what folding gives."""
    model, image = Model.load(default_model()), tile_image(2 * budget.size).to(device)
    network = model.network().to(device)
    yield _map(network, image, threshold=model.nearest_pixel(PIXEL_M).threshold)
    yield _tiles(image)
    yield _fold(network, image, budget)


def _map(network: nn.Module, image: Tensor, *, threshold: float) -> Finding:
    forgotten = copy.deepcopy(network).train()
    right, alone = _probability(network, image), _probability(forgotten, image)
    for window in image.unfold(2, WINDOW, WINDOW).unfold(3, WINDOW, WINDOW).flatten(2, 3).unbind(2):
        forgotten(window)
    spoilt = _probability(forgotten.eval(), image)
    numbers = {
        "other_class": exactly(((right > threshold) != (alone > threshold)).mean()),
        "spoilt": exactly(((right > threshold) != (spoilt > threshold)).mean()),
    }
    shown = {"eval()": right, "train(), eval() forgotten": alone, "eval() again, after windows in train()": spoilt}
    panels = [_picture(image), *(Panel(n, heat(p, low=0, high=1)) for n, p in shown.items())]
    return Finding("normalisation_mapping.map", numbers, [Panels("Probability of cropland, 0 dark to 1 light", panels)])


def _probability(network: nn.Module, image: Tensor) -> np.ndarray:
    probability: np.ndarray = network(image)[0, 0].sigmoid().cpu().numpy()
    return probability


def _tiles(image: Tensor) -> Finding:
    differences, numbers = {}, {}
    for norm in NORMS:
        network = _prepared(norm, image)
        whole = network(image)[0, 0]
        tiled = in_tiles(network, image, size=image.shape[-1] // 2)
        differences[norm] = ((tiled - whole).abs() / whole.std()).cpu().numpy()
        numbers[f"difference_{norm}"] = exactly(differences[norm].max())
        numbers[f"other_side_{norm}"] = exactly(((tiled > whole.median()) != (whole > whole.median())).double().mean())
    shown = [Panel(norm, heat(difference, low=0, high=0.5)) for norm, difference in differences.items()]
    title = "Tiles less the whole image, 0 dark to half a standard deviation light"
    return Finding("normalisation_mapping.tiles", numbers, [Panels(title, [_picture(image), *shown])])


def _picture(image: Tensor) -> Panel:
    rgb = (image[0].permute(1, 2, 0).clamp(0, 1).cpu().numpy() * 255).astype(np.uint8)
    return Panel("the image", raster(rgb))


def _prepared(norm: str, image: Tensor) -> nn.Module:
    """A small U-Net of fresh weights whose running statistics, if it has some, are those of the image."""
    torch.manual_seed(0)
    network = UNet(3, width=8, encoder_options={"width": 8, "depth": 2}, norm=norm).to(image.device).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean of all passes, of which there is one
    network(image)
    return network.eval()


def in_tiles(network: nn.Module, image: Tensor, *, size: int) -> Tensor:
    """The first output of (1, band, height, width), tile by tile, with the halo of the same network with batch norm."""
    seen = field(UNet(3, width=8, encoder_options={"width": 8, "depth": 2}).eval(), 3)
    assert seen.radius is not None
    made = torch.empty_like(image[0, 0])
    for tile in tiles((len(made), made.shape[1]), size=size, halo=seen.radius, stride=seen.stride):
        part = network(image[(..., *tile.padded.slices)])[0, 0]
        made[tile.core.slices] = part[tile.inner.slices]
    return made


def _fold(network: nn.Module, image: Tensor, budget: Budget) -> Finding:
    device, network = image.device, place_network(network, image.device)
    values = image.contiguous(memory_format=torch.channels_last)
    lighter = fold(network)
    error = (lighter(values).sigmoid() - network(values).sigmoid()).abs().max()
    pair = {"as trained": network, "folded": lighter}
    runs = {name: partial(each, values) for name, each in pair.items()}
    whole = interleave(runs, device, rounds=budget.rounds)
    x = torch.randn(1, budget.channels, budget.size, budget.size, device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    kinds: dict[str, nn.Module] = {
        norm: Convolution(budget.channels, budget.channels, norm=norm) for norm in (*NORMS, NONE)
    }
    blocks = {name: place_network(block, device).eval() for name, block in kinds.items()}
    blocks = {"batch_norm": blocks["batch_norm"], "folded": fold(blocks["batch_norm"]), **blocks}
    layer = interleave({name: partial(block, x) for name, block in blocks.items()}, device, rounds=budget.rounds)
    numbers = {
        "error": exactly(float(error)),
        "norms": exactly(sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())),
        "left": exactly(sum(isinstance(module, nn.BatchNorm2d) for module in lighter.modules())),
        "speedup": ratio(whole["as trained"], whole["folded"]),
        "block_speedup": ratio(layer["batch_norm"], layer["folded"]),
        "channel_norm_times": ratio(layer["channel_norm"], layer["folded"]),
    }
    names = {name.replace(NONE, "no norm"): times.ms for name, times in layer.items()}
    charts = (
        Bars("The network that ships, one image", "milliseconds", {name: t.ms for name, t in whole.items()}),
        Bars("One block: convolution, norm, rectifier", "milliseconds", names),
    )
    return Finding("normalisation_mapping.fold", numbers, charts)


def fold(network: nn.Module) -> nn.Module:
    """A copy in which a batch norm that follows a convolution is part of its weights (in evaluation mode)."""
    lighter = copy.deepcopy(network)
    for module in [*lighter.modules()]:
        for (name, before), (after, norm) in pairwise([*module.named_children()]):
            if isinstance(before, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(before, norm))
                setattr(module, after, nn.Identity())
    return lighter
