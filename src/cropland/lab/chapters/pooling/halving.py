"""What halving the size saves, how much further a network sees by it, and what it leaves of field boundaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import cast

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.blocks.average_pool import average_pool
from cropland.blocks.max_pool import max_pool
from cropland.data.labels import LabelOptions, read_labels
from cropland.demo import FIELDS, TILE
from cropland.evaluation.boundary import boundary_counts, boundary_f1
from cropland.geo.scene import open_scene
from cropland.geo.window import Window
from cropland.lab.charts import Bars, Box, Lines, Panel, Panels, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, interleave, multiply_adds, ratio
from cropland.lab.trials import small_recipe
from cropland.model import build_network
from cropland.networks.unet import UNet
from cropland.streaming.receptive_field import field
from cropland.training.memory import SHARE, free_bytes, kept_bytes, place_network

__all__ = ["pooling", "pooling_boundary"]

DEPTH = 4  # halvings of the small U-Net that ships
PIXEL_M = 2.0  # that it works at
Networks = Mapping[int, nn.Module]  # by the number of halvings left

TOLERANCE_M = 3.0
HALVINGS = range(1, 6)  # of the tile's pixels of 1 m


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


def antialiased(channels: int) -> nn.Module:
    """A blur with 1 2 1 in both directions, then every second pixel. No parameters are learnt.

    Source: Zhang 2019, arXiv:1904.11486.
    """
    blur = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False, padding_mode="replicate")
    line = torch.tensor([0.25, 0.5, 0.25])
    blur.weight.requires_grad_(False).copy_(torch.outer(line, line))
    return blur


# A pooled pixel stands for the middle of its 2 x 2, the others for the upper left one: they go back there.
DOWNS: dict[str, tuple[nn.Module, bool]] = {
    "max pooling": (max_pool(1), False),
    "average pooling": (average_pool(1), False),
    "every second pixel": (nn.AvgPool2d(1, 2), True),
    "blur, then every second pixel": (antialiased(1), True),
}
KEYS = dict(zip(("f1_max", "f1_average", "f1_every_second", "f1_blurred"), DOWNS, strict=True))


def pooling_boundary(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The true mask of the sample's fields, halved and brought back."""
    edge, counts = min(1024, 4 * budget.size), budget.sweep(HALVINGS)
    truth = read_labels(LabelOptions(labels=FIELDS, background="known")).on(open_scene(TILE))(Window(0, 0, edge, edge))
    masks = {name: [rebuilt(truth, *down, count=count) for count in counts] for name, down in DOWNS.items()}
    found = {name: [_f1(mask, truth) for mask in its] for name, its in masks.items()}
    numbers = {key: exactly(found[name][-1]) for key, name in KEYS.items()}
    numbers |= {"pixel": exactly(2 ** counts[-1]), "tolerance": exactly(TOLERANCE_M)}
    size = min(edge, 512)
    lines = Lines(
        "Boundary F1 of the field mask after halving and back",
        "metres per pixel of the small map",
        "boundary F1 at 3 m",
        [2**count for count in counts],
        {name: [exactly(f1) for f1 in its] for name, its in found.items()},
        log_x=True,
    )
    panels = [Panel(name, heat(its[-1][:size, :size], low=0, high=1)) for name, its in masks.items()]
    shown = [Panel("the fields", heat(truth[:size, :size], low=0, high=1)), *panels]
    yield Finding(
        "pooling_boundary.fields", numbers, [lines, Panels(f"Back from pixels of {2 ** counts[-1]} m", shown)]
    )


def rebuilt(
    truth: UInt8[np.ndarray, "edge edge"], halve: nn.Module, at_corner: bool, *, count: int
) -> UInt8[np.ndarray, "edge edge"]:
    """The mask halved so many times, brought back bilinearly and cut at one half; the last pixels are repeated."""
    small, factor = torch.from_numpy(truth)[None, None].float(), 2**count
    with torch.no_grad():
        for _ in range(count):
            small = halve(small)
    length = (small.shape[-1] - 1) * factor + 1 if at_corner else small.shape[-1] * factor
    back = F.interpolate(small, (length, length), mode="bilinear", align_corners=at_corner)[0, 0]
    rest = max(0, len(truth) - length)
    whole = np.pad(back.numpy(), ((0, rest), (0, rest)), mode="edge")[: len(truth), : len(truth)]
    return (whole >= 0.5).astype(np.uint8)


def _f1(said: np.ndarray, truth: np.ndarray) -> float:
    core = np.s_[: -(2 ** max(HALVINGS)), : -(2 ** max(HALVINGS))]
    counts = boundary_counts(said, truth, pixel_m=(1.0, 1.0), tolerances_m=[TOLERANCE_M], core=core)
    return float(boundary_f1(counts)[0])
