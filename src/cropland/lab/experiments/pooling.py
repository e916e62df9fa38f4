"""What halving the size saves, and how much further a network sees by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cropland.demo import TILE
from cropland.geo.scene import open_scene
from cropland.geo.tiles import Window
from cropland.lab.charts import Bars, Box, Lines, Panel, Panels, raster
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, interleave, ratio
from cropland.lab.trials import small_recipe
from cropland.model import build_network
from cropland.networks.unet import UNet
from cropland.receptive_field import field
from cropland.training.device import place_network
from cropland.training.memory import SHARE, free_bytes, kept_bytes

__all__ = ["pooling"]

DEPTH = 4  # halvings of the small U-Net that ships
PIXEL_M = 2.0  # that it works at
Networks = Mapping[int, nn.Module]  # by the number of halvings left


def pooling(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Work, memory and field of one network with four halvings, and with fewer."""
    counts = sorted({0, *budget.sweep(range(DEPTH + 1))})
    networks = {count: place_network(with_halvings(count), device) for count in counts}
    image, notes = _image(device, budget, networks[0])
    yield _work(networks, image, budget=budget, notes=notes)
    yield _memory(networks, image, notes=notes)
    yield _field(networks)


def with_halvings(count: int) -> nn.Module:
    """The small U-Net with the first `count` of its four halvings; all of its weights stay, on larger maps."""
    network = cast(UNet, build_network(small_recipe()))
    for level in range(count, DEPTH):
        network.encoder.downs[level] = nn.Identity()
        up = DEPTH - 1 - level
        network.ups[up] = next(network.ups[up].children())  # the 1 x 1 convolution without the doubling
    return network


def _image(device: torch.device, budget: Budget, largest: nn.Module) -> tuple[Tensor, list[str]]:
    """One image of the budget's size, or the largest half of it that leaves half of the free memory."""
    probe = activations(largest, torch.zeros(1, 3, 32, 32, device=device)) / 32**2
    edge = budget.size
    while probe * edge**2 > SHARE * free_bytes(device) and edge > 32:
        edge //= 2
    image = torch.rand(1, 3, edge, edge, device=device).contiguous(memory_format=torch.channels_last)
    return image, [f"image reduced from {budget.size} to {edge} pixels: memory"] * (edge < budget.size)


@torch.no_grad()
def _work(networks: Networks, image: Tensor, *, budget: Budget, notes: list[str]) -> Finding:
    runs = {str(count): partial(network, image) for count, network in networks.items()}
    for network in networks.values():
        network.eval()
    work = {count: multiply_adds(network, image) for count, network in networks.items()}
    times = interleave(runs, image.device, rounds=budget.rounds)
    numbers = {
        "work": exactly(work[0] / work[DEPTH]),
        "slower": ratio(times["0"], times[str(DEPTH)]),
        "ms": times[str(DEPTH)].ms,
        "ms_without": times["0"].ms,
        "parameters": exactly(sum(weight.numel() for weight in networks[DEPTH].parameters())),
        "parameters_without": exactly(sum(weight.numel() for weight in networks[0].parameters())),
    }
    curves: dict[str, list[Number | None]] = {
        "multiply-adds": [exactly(work[count] / work[DEPTH]) for count in networks],
        "time": [ratio(times[str(count)], times[str(DEPTH)]) for count in networks],
    }
    chart = Lines(
        "How many times the network with all four halvings",
        "halvings left",
        "times",
        list(networks),
        curves,
        levels={"all four halvings": 1.0},
        log_y=True,
    )
    return Finding("pooling.work", numbers, [chart], notes)


def multiply_adds(network: nn.Module, image: Tensor) -> float:
    """Multiply-adds of one forward pass: half the operations that PyTorch counts."""
    with FlopCounterMode(display=False) as counter:
        network(image)
    return float(counter.get_total_flops()) / 2


def activations(network: nn.Module, image: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, without the weights, which are there anyway."""
    return kept_bytes(network, image) - sum(weight.nbytes for weight in network.parameters() if weight.dim() > 1)


def _memory(networks: Networks, image: Tensor, *, notes: list[str]) -> Finding:
    kept = {count: activations(network.train(), image) / 1e6 for count, network in networks.items()}
    numbers = {
        "saved": exactly(kept[0] / kept[DEPTH]),
        "kept": exactly(kept[DEPTH]),
        "kept_without": exactly(kept[0]),
    }
    bars = {_named(count): exactly(megabytes) for count, megabytes in kept.items()}
    return Finding("pooling.memory", numbers, [Bars("Kept for the backward pass, one image", "megabytes", bars)], notes)


def _field(networks: Networks) -> Finding:
    radii = {count: _radius(network) for count, network in networks.items()}
    edges = {count: (2 * radius + 1) * PIXEL_M for count, radius in radii.items()}
    numbers = {
        "wider": exactly(edges[DEPTH] / edges[0]),
        "metres": exactly(edges[DEPTH]),
        "metres_without": exactly(edges[0]),
        "layers": exactly(radii[DEPTH] - radii[0]),  # a 3 x 3 convolution at full size reaches one pixel further
    }
    scene = open_scene(TILE)
    rgb = scene.read(Window(0, 0, *scene.shape), bands=scene.bands).values.transpose(1, 2, 0).astype(np.uint8)
    width_m = scene.shape[1] * scene.pixel_m
    boxes = [Box(_named(count), 0.5, 0.5, edge / width_m) for count, edge in sorted(edges.items(), reverse=True)]
    charts = (
        Panels(
            "What decides the pixel in the middle",
            [Panel("the sample tile", raster(np.ascontiguousarray(rgb)), boxes=boxes)],
        ),
        Bars("Edge of the field", "metres, at pixels of 2 m", {_named(c): exactly(edge) for c, edge in edges.items()}),
    )
    return Finding("pooling.field", numbers, charts)


def _radius(network: nn.Module) -> int:
    radius = field(network.cpu().eval(), 3).radius
    assert radius is not None, "a U-Net of convolutions has a bounded field"
    return radius


def _named(count: int) -> str:
    return f"{count} halvings"
