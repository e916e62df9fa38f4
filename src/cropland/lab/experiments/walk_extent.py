"""How much of the ground every stage sees: exactly, and in effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import geopandas as gpd
import numpy as np
import torch
from torch import Tensor

from cropland.demo import FIELDS
from cropland.lab.charts import Box, Lines, Panel, Panels, raster
from cropland.lab.claim import Finding
from cropland.lab.experiments.walk import Ground, ground_of, stages
from cropland.lab.measure import Budget, Number, exactly, quartiles
from cropland.lab.reach import Reach, reach

__all__ = ["walk_extent"]

MOST = 0.9  # of the gradient: the square that holds it is what a pixel sees in effect
DRAWS = 3  # places in the middle half of the tile, and signs of channels


def walk_extent(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Map pixels, exact fields and effective fields of every stage, in metres, against the fields of the tile."""
    ground = ground_of(device)
    names = list(stages(ground.network, ground.image[..., :64, :64]))
    network = ground.network.to("cpu")
    exact = reach(lambda images: [y for _, y in stages(network, images).values()], ground.image.shape[1])
    ground.network.to(device)
    known = {name: its for name, its in zip(names, exact, strict=True) if its is not None}
    yield _extent(ground, known, draws=1 if budget.every > 1 else DRAWS)


def _extent(ground: Ground, exact: dict[str, Reach], *, draws: int) -> Finding:
    image, pixel_m = ground.image.requires_grad_(), ground.pixel_m
    maps = {name: y for name, (_, y) in stages(ground.network, image).items()}
    told = [name for name in maps if not name.startswith("decoder")]
    effect = {name: quartiles(pixel_m * e for e in effective(maps[name], image, draws)) for name in told}
    ground.image.requires_grad_(False)
    sides = longer_sides()
    seen = effect[told[-1]]
    numbers = {
        "fit": exactly(float(np.mean(sides <= seen.value))),
        "effective": seen,
        "exact": exactly(exact["head"].window * pixel_m),
        "field": quartiles(sides),
    }
    curves: dict[str, list[Number | None]] = {
        "can see": [exactly(pixel_m * exact[name].window) for name in maps],
        "sees in effect": [effect.get(name) for name in maps],
        "a pixel of the map": [exactly(pixel_m * exact[name].stride) for name in maps],
    }
    levels = {"field of 500 m": 500.0, "field of 20 m": 20.0, "path of 2 m": 2.0}
    order = [float(number) for number in range(1, len(maps) + 1)]
    line = Lines("What one pixel of each map sees of the ground", "stage", "metres", order, curves, levels, log_y=True)
    panels = [_panel(ground, name, exact[name], effect[name].value) for name in told]
    return Finding("walk_extent.field", numbers, [line, Panels("The same over the tile", panels)])


def _panel(ground: Ground, name: str, its: Reach, effect_m: float) -> Panel:
    edge_m = ground.pixel_m * ground.image.shape[-1]
    window_m = its.window * ground.pixel_m
    beyond = " (more than the picture)" * (window_m > edge_m)
    sizes = {
        f"can see: {window_m:.0f} m{beyond}": window_m,
        f"sees in effect: {effect_m:.0f} m": effect_m,
        f"a pixel of the map: {its.stride * ground.pixel_m:.0f} m": its.stride * ground.pixel_m,
    }
    boxes = [Box(label, 0.5, 0.5, size / edge_m) for label, size in sizes.items()]
    return Panel(f"{name}, stride {its.stride:.0f}", raster(ground.picture), boxes=boxes)


def effective(y: Tensor, image: Tensor, draws: int) -> list[int]:
    """Edges in pixels of the squares that hold most of the gradient of a map's pixel, about the middle of the image.

    Channels are summed with random signs. Source: Luo et al. 2016, arXiv:1701.04128.
    """
    found = []
    for share in (0.5, 0.4, 0.6)[:draws]:
        cell = [int(share * edge) for edge in y.shape[2:]]
        signs = torch.randn(y.shape[1], generator=torch.Generator().manual_seed(0)).sign().to(y.device)
        (gradient,) = torch.autograd.grad((y[0, :, cell[0], cell[1]] * signs).sum(), image, retain_graph=True)
        middle = [(c + 0.5) * a / b - 0.5 for c, a, b in zip(cell, image.shape[2:], y.shape[2:], strict=True)]
        found.append(square(gradient[0].abs().sum(0).cpu().numpy(), middle))
    return found


def square(weights: np.ndarray, middle: Sequence[float]) -> int:
    """The edge of the smallest square about a place that holds most of the weights."""
    rows, columns = (np.abs(np.arange(edge) - at) for edge, at in zip(weights.shape, middle, strict=True))
    away = np.maximum.outer(rows, columns).round().astype(int)
    held = np.bincount(away.ravel(), weights.ravel()).cumsum()
    return 2 * int(np.searchsorted(held, MOST * held[-1])) + 1


def longer_sides() -> np.ndarray:
    """The longer sides in metres of the smallest rectangles about the fields of the tile."""
    fields = gpd.read_file(FIELDS)
    boxes = fields.to_crs(fields.estimate_utm_crs()).minimum_rotated_rectangle()
    corners = [np.array(box.exterior.coords) for box in boxes]
    return np.array([np.hypot(*np.diff(each[:3], axis=0).T).max() for each in corners])
