"""What parallel rates answer to the real fields of the sample tile, by the size of the field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from rasterio.features import rasterize
from torch import Tensor

from cropland.demo import FIELDS, TILE
from cropland.geo.scene import open_scene
from cropland.geo.vectors import read_polygons, to_grid_crs
from cropland.lab.charts import Lines, Panel, Panels, heat
from cropland.lab.claim import Finding
from cropland.lab.experiments.atrous_cost import tile
from cropland.lab.experiments.atrous_scales import answer, branches
from cropland.lab.measure import Budget, quartiles

__all__ = ["atrous_tile"]

RATES = (2, 4, 8, 16, 32, 64, 128)  # pixels of 1 m
SHOWN = (2, 8, 32, 128)
CLASSES = {"fields under 30 m": (0, 30), "fields of 30 to 100 m": (30, 100), "fields over 100 m": (100, 1024)}
EDGE = 1024  # pixels of the sample tile
CHANNELS, DRAWS = 8, 3  # of a branch; random pyramids
Curves = dict[str, list[float]]
FULL = 0.5**0.5  # what a rectified branch of unit weights answers to unrelated pixels of deviation 1


def atrous_tile(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The sample tile."""
    yield _fields(device, budget)


def _fields(device: torch.device, budget: Budget) -> Finding:
    """The rate at which each class of fields gives half of its greatest answer; with texture and without."""
    rates = budget.sweep(RATES) if len(budget.sweep(RATES)) > 1 else RATES[::6]
    parcels = parcel_numbers()
    image = standard(tile(EDGE))
    draws = [dict(zip(rates, branches(rates, CHANNELS, device, alike=True), strict=True)) for _ in range(DRAWS)]
    real = [{rate: answer(eye, image) for rate, eye in eyes.items()} for eyes in draws]
    flat = standard(paint(image, parcels))
    painted = [{rate: answer(eye, flat) for rate, eye in eyes.items()} for eyes in draws]
    curves, curves_flat = ([_curves(seen, parcels) for seen in its] for its in (real, painted))
    halves, halves_flat = ([_halves(rates, one) for one in its] for its in (curves, curves_flat))
    numbers = {
        "small": quartiles(half[0] for half in halves),
        "large": quartiles(half[-1] for half in halves),
        "wider": quartiles(half[-1] / half[0] for half in halves),
        "wider_painted": quartiles(half[-1] / half[0] for half in halves_flat),
    }
    titles = "Within the fields of the tile", "The same, every field painted in its mean"
    lines = [_lines(title, rates, its) for title, its in zip(titles, (curves, curves_flat), strict=True)]
    return Finding("atrous_tile.fields", numbers, [_panels(image, real[0]), *lines])


def _lines(title: str, rates: Sequence[int], draws: Sequence[Curves]) -> Lines:
    curves = {name: [quartiles(one[name][n] for one in draws) for n in range(len(rates))] for name in CLASSES}
    levels = {"pixels that have nothing to do with each other": FULL}
    return Lines(title, "rate", "answer", rates, curves, levels, log_x=True)


def _halves(rates: Sequence[int], curves: Curves) -> list[float]:
    """The rate at which each class reaches half of its greatest answer."""
    return [first_above(rates, curve, max(curve) / 2) for curve in curves.values()]


def parcel_numbers() -> np.ndarray:
    """The number of the field of each pixel of the tile from 1, and 0 elsewhere."""
    grid = open_scene(TILE).grid
    shapes = to_grid_crs(read_polygons(FIELDS), grid.crs, shift=False).geometry
    numbered = [(shape, number) for number, shape in enumerate(shapes, 1)]
    numbers: np.ndarray = rasterize(numbered, out_shape=tuple(grid.shape), transform=grid.affine, dtype="int32")
    return numbers


def standard(image: Tensor) -> Tensor:
    """With mean 0 and deviation 1."""
    return (image - image.mean()) / image.std()


def paint(image: Tensor, parcels: np.ndarray) -> Tensor:
    """Every field, and the land between them, in its mean: borders stay, texture goes."""
    flat = image[0, 0].numpy()
    means = np.bincount(parcels.ravel(), flat.ravel()) / np.maximum(1, np.bincount(parcels.ravel()))
    return torch.from_numpy(means[parcels].astype(np.float32))[None, None]


def widths_m() -> np.ndarray:
    """Of each field 4 area / perimeter in metres, the edge of a square; first a nan for the land between."""
    fields = read_polygons(FIELDS)
    shapes = fields.to_crs(fields.estimate_utm_crs()).geometry
    return np.concatenate([[np.nan], 4 * shapes.area / shapes.length])


def _curves(seen: dict[int, Tensor], parcels: np.ndarray) -> Curves:
    width = widths_m()[parcels]
    where = {name: (width >= low) & (width < high) for name, (low, high) in CLASSES.items()}
    return {name: [_mean(its, here, rate) for rate, its in seen.items()] for name, here in where.items()}


def _mean(seen: Tensor, where: np.ndarray, rate: int) -> float:
    """Root mean square answer where no tap lies beyond the tile."""
    inner = (slice(rate, -rate),) * 2
    return float(np.sqrt(np.square(seen.numpy()[inner][where[inner]]).mean()))


def first_above(places: Sequence[float], values: Sequence[float], level: float) -> float:
    """Where the curve first reaches a level, on a logarithmic axis; its end if it lies wholly on one side."""
    rising = np.maximum.accumulate(values)
    return float(np.exp(np.interp(level, rising, np.log(places))))


def _panels(image: Tensor, seen: dict[int, Tensor]) -> Panels:
    shown = [rate for rate in seen if rate in SHOWN]
    maps = [Panel(f"rate {rate}", heat(seen[rate][::4, ::4].numpy(), low=0, high=2 * FULL)) for rate in shown]
    picture = Panel("the sample tile", heat(image[0, 0, ::4, ::4].numpy(), colours="gray"))
    return Panels("What each rate answers: dark where all taps see the same", [picture, *maps])
