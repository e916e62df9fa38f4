"""How much of the ground every stage sees, and where the map of the sample tile is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import geopandas as gpd
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from cropland.data.cut import windows
from cropland.demo import FIELDS
from cropland.evaluation.counts import count
from cropland.evaluation.report import verdict
from cropland.evaluation.score import Picture
from cropland.lab.chapters.walk.through import Ground, ground_of, probability, stages
from cropland.lab.charts import Bars, Box, Lines, Panel, Panels, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, quartiles
from cropland.lab.reach import Reach, reach

__all__ = ["walk_extent", "walk_fails"]

MOST = 0.9  # of the gradient: the square that holds it is what a pixel sees in effect
DRAWS = 3  # places in the middle half of the tile, and signs of channels

EDGE = 128  # working pixels of a chip: 256 m
SOME = 0.05  # share of a chip that must be cropland, else its IoU says little
BORDER_M = 10.0  # nearer than this to the edge of a drawn field counts as at its edge
UNSURE = 0.25  # from the threshold, in probability
BINS = np.linspace(0, 1, 11)


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


def walk_fails(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The chip with the worst IoU; how many errors are at edges; how many the network is unsure of."""
    ground = ground_of(device)
    with torch.no_grad():
        p = probability(ground)
    yield _edges(ground, p)
    yield _unsure(ground, p)


def _edges(ground: Ground, p: np.ndarray) -> Finding:
    said, true = p >= ground.threshold, ground.label == 1
    wrong, away = said != true, ground.pixel_m * to_edge(true)
    cut = [window.slices for window in windows(true.shape, size=EDGE)]
    scores = {i: _iou(said[its], true[its]) for i, its in enumerate(cut) if np.mean(true[its]) >= SOME}
    worst = cut[min(scores, key=scores.__getitem__)]
    shares = [float(np.mean(away[its][wrong[its]] <= BORDER_M)) for its in cut if wrong[its].any()]
    distances = [4.0, 6.0, 10.0, 20.0, 40.0, 80.0]
    numbers = {
        "edge": exactly(_mean(away[wrong] <= BORDER_M)),
        "land": exactly(_mean(away <= BORDER_M)),
        "iou": exactly(_iou(said, true)),
        "worst": exactly(min(scores.values())),
        "chips": quartiles(shares),
    }
    curves = {
        "wrong pixels": [exactly(_mean(away[wrong] <= metres)) for metres in distances],
        "all pixels": [exactly(_mean(away <= metres)) for metres in distances],
    }
    line = Lines("Share that is nearer to a field's edge than this", "metres", "share", distances, curves, log_x=True)
    shown = ground.cut(*worst)
    panels = [
        Panel("the chip with the worst IoU", raster(shown.picture), shape=f"IoU {min(scores.values()):.2f}"),
        Panel("fields as people drew them", heat(true[worst], low=0, high=1)),
        Panel("probability", heat(p[worst], low=0, high=1)),
        Panel("green found, orange false, blue missed", raster(_verdict(shown.picture, said[worst], true[worst]))),
    ]
    return Finding("walk_fails.edges", numbers, [Panels("Where it fails", panels), line])


def to_edge(true: np.ndarray) -> np.ndarray:
    """Pixels from every pixel's centre to the nearest of the other class."""
    inside, outside = distance_transform_edt(true), distance_transform_edt(~true)
    found: np.ndarray = np.where(true, inside, outside)
    return found


def _iou(said: np.ndarray, true: np.ndarray) -> float:
    return count(said.astype(np.uint8), true.astype(np.uint8)).iou


def _verdict(picture: np.ndarray, said: np.ndarray, true: np.ndarray) -> np.ndarray:
    return verdict(Picture(picture, said.astype(np.uint8), true.astype(np.uint8)))


def _mean(which: np.ndarray) -> float:
    return float(np.mean(which))


def _unsure(ground: Ground, p: np.ndarray) -> Finding:
    true = ground.label == 1
    wrong, unsure = (p >= ground.threshold) != true, np.abs(p - ground.threshold) <= UNSURE
    numbers = {
        "wrong": exactly(_mean(unsure[wrong])),
        "right": exactly(_mean(unsure[~wrong])),
        "caught": exactly(_mean(wrong[unsure])),
    }
    places = np.digitize(p, BINS[1:-1])
    said = [exactly(_mean(true[places == i])) if (places == i).any() else None for i in range(len(BINS) - 1)]
    middles = [float(each) for each in (BINS[:-1] + BINS[1:]) / 2]
    line = Lines(
        "Of the pixels with this probability, how many are cropland",
        "probability",
        "share",
        middles,
        {"the network": said, "if probabilities were right": [exactly(each) for each in middles]},
    )
    bars = Bars("Near the threshold", "share", {"wrong pixels": numbers["wrong"], "right pixels": numbers["right"]})
    return Finding("walk_fails.unsure", numbers, [line, bars])
