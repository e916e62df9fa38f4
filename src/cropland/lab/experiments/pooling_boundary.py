"""What halving leaves of field boundaries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn
from torch.nn import functional as F

from cropland.blocks.average_pool import average_pool
from cropland.blocks.max_pool import max_pool
from cropland.data.read_labels import LabelOptions, read_labels
from cropland.demo import FIELDS, TILE
from cropland.evaluation.boundary import boundary_counts, boundary_f1
from cropland.geo.scene import open_scene
from cropland.geo.tiles import Window
from cropland.lab.charts import Lines, Panel, Panels, heat
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, exactly

__all__ = ["pooling_boundary"]

TOLERANCE_M = 3.0
HALVINGS = range(1, 6)  # of the tile's pixels of 1 m


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
