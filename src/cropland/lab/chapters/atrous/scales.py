"""One input seen at several scales by parallel rates: fields of known size, the fields of the sample tile, and how
well size is read from several rates side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from rasterio.features import rasterize
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.blocks.pyramid import Pyramid
from cropland.demo import FIELDS, TILE
from cropland.geo.scene import open_scene
from cropland.geo.vectors import read_polygons, to_grid_crs
from cropland.lab import sample_tile
from cropland.lab.charts import Bars, Lines, Panel, Panels, heat
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, exactly, mean_of_seeds, paired, quartiles

__all__ = ["atrous_scales", "atrous_tile", "atrous_together"]

RATES = (3, 6, 12, 24)  # pixels of 1 m
WIDEST = max(RATES)
MIDDLE = RATES[2]
SQUARES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)  # edges in metres
STRIPES = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 72, 96)  # widths in metres

TILE_RATES = (2, 4, 8, 16, 32, 64, 128)  # pixels of 1 m
SHOWN = (2, 8, 32, 128)
CLASSES = {"fields under 30 m": (0, 30), "fields of 30 to 100 m": (30, 100), "fields over 100 m": (100, 1024)}
EDGE = 1024  # pixels of the sample tile
CHANNELS, DRAWS = 8, 3  # of a branch; random pyramids
Curves = dict[str, list[float]]
FULL = 0.5**0.5  # what a rectified branch of unit weights answers to unrelated pixels of deviation 1

DRAWN, FEATURES = 400, 16  # fields to learn from; channels of a branch, enough random features for a linear join
NOISE = 0.1  # of the contrast between field and ground
SIZES_M = (4.0, 96.0)


def atrous_scales(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Single squares, stripes."""
    yield _larger(device, budget)
    yield _own(device, budget)


def branches(rates: Sequence[int], channels: int, device: torch.device, *, alike: bool) -> list[nn.Module]:
    """The branches of a pyramid over one channel; flat ground gives nothing, unrelated pixels the same at every rate.

    `alike`: all with the same random weights, so that rates are compared and not draws.
    """
    pyramid = Pyramid(1, channels, rates=rates).to(device).eval()
    weights = torch.randn(len(rates), channels, 1, 3, 3)
    weights = (weights[:1] if alike else weights).expand_as(weights)
    weights = weights - weights.mean((3, 4), keepdim=True)
    for branch, weight in zip(pyramid.branches, weights / weights.norm(dim=(3, 4), keepdim=True), strict=True):
        branch.get_submodule("convolution").load_state_dict({"weight": weight})
    return list(pyramid.branches)


@torch.no_grad()
def answer(branch: nn.Module, image: Tensor) -> Tensor:
    """Root mean square over the channels of what a branch makes of (1, 1, height, width): (height, width)."""
    device = next(branch.parameters()).device
    seen: Tensor = branch(image.to(device))[0].square().mean(0).sqrt().cpu()
    return seen


def _larger(device: torch.device, budget: Budget) -> Finding:
    eyes = branches(RATES, budget.channels, device, alike=True)
    edges = budget.sweep(SQUARES)
    found = np.array([[to_square(branch, edge) for edge in edges] for branch in eyes])
    limits = [last_above(edges, curve, float(curve.max()) / 2) for curve in found]
    numbers = {
        "slope": exactly(float(np.polyfit(np.log(RATES), np.log(limits), 1)[0])),
        "limit_first": exactly(limits[0]),
        "limit_last": exactly(limits[-1]),
        "rate_first": exactly(RATES[0]),
        "rate_last": exactly(RATES[-1]),
    }
    curves = {f"rate {rate}": list(map(exactly, curve)) for rate, curve in zip(RATES, found, strict=True)}
    x = "edge of a square field in metres"
    lines = Lines("What each rate answers within one field on bare ground", x, "answer", edges, curves, log_x=True)
    return Finding("atrous_scales.larger", numbers, [lines])


def to_square(branch: nn.Module, edge: int) -> float:
    """Mean answer over the pixels of one bright square on dark ground."""
    image = F.pad(torch.ones(1, 1, edge, edge), (WIDEST,) * 4)
    return float(answer(branch, image)[WIDEST:-WIDEST, WIDEST:-WIDEST].mean())


def to_stripes(branch: nn.Module, width: int) -> float:
    """Root mean square answer to stripes of this width and as wide gaps, away from the image's edge."""
    columns = torch.arange(2 * WIDEST + 8 * width) // width % 2
    image = columns.float().expand(1, 1, 2 * WIDEST + 1, -1)
    return float(answer(branch, image)[WIDEST, WIDEST:-WIDEST].square().mean().sqrt())


def last_above(places: Sequence[float], values: np.ndarray, level: float) -> float:
    """Where the curve falls below a level for good, on a logarithmic axis; the last place if it does not."""
    last = int(np.flatnonzero(values >= level)[-1])
    if last == len(places) - 1:
        return float(places[-1])
    share = (values[last] - level) / (values[last] - values[last + 1])
    return float(places[last] * (places[last + 1] / places[last]) ** share)


def _own(device: torch.device, budget: Budget) -> Finding:
    eyes = dict(zip(RATES, branches(RATES, budget.channels, device, alike=True), strict=True))
    eye, widths = eyes[MIDDLE], STRIPES
    square, stripe = to_square(eye, MIDDLE), to_stripes(eye, MIDDLE)
    shares = {
        "smaller": to_square(eye, MIDDLE // 4) / square,
        "larger": to_square(eye, MIDDLE * 4) / square,
        "third": to_stripes(eye, MIDDLE // 3) / stripe,
        "half": to_stripes(eye, MIDDLE // 2) / stripe,
    }
    numbers = {name: exactly(round(share, 6)) for name, share in shares.items()}
    numbers |= {"others": exactly(max(shares.values())), "rate": exactly(MIDDLE)}
    curves = {f"rate {rate}": [exactly(to_stripes(eye, w)) for w in widths] for rate, eye in eyes.items()}
    x = "width of the stripes in metres"
    lines = Lines("What each rate answers to stripes", x, "answer", widths, curves, log_x=True)
    return Finding("atrous_scales.own", numbers, [lines])


def atrous_tile(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The sample tile."""
    yield _fields(device, budget)


def _fields(device: torch.device, budget: Budget) -> Finding:
    """The rate at which each class of fields gives half of its greatest answer; with texture and without."""
    rates = budget.sweep(TILE_RATES) if len(budget.sweep(TILE_RATES)) > 1 else TILE_RATES[::6]
    parcels = parcel_numbers()
    image = standard(sample_tile.grey(EDGE))
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
    shapes = to_grid_crs(read_polygons(FIELDS), grid.crs, allow_datum_shift=False).geometry
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


def atrous_together(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The size read from all rates together."""
    yield _size(device, budget)


def _size(device: torch.device, budget: Budget) -> Finding:
    """How well the best 1 x 1 join reads the size of the field around a pixel, from pyramids of equal parameters."""
    kinds = {
        f"rates {', '.join(map(str, rates))}": rates for rates in (RATES, *((rate,) * len(RATES) for rate in RATES))
    }
    told = {name: [_told(rates, seed, device) for seed in range(budget.rounds)] for name, rates in kinds.items()}
    bars = {name: mean_of_seeds(each) for name, each in told.items()}
    parallel, *alike = told.values()
    best = max(alike, key=lambda each: sum(each))
    numbers = {
        "told": mean_of_seeds(parallel),
        "best": mean_of_seeds(best),
        "gain": paired(parallel, best),
    }
    chart = Bars("How much of the difference in field size is told", "share of the variance", bars)
    return Finding("atrous_together.size", numbers, [chart])


def _told(rates: Sequence[int], seed: int, device: torch.device) -> float:
    """R^2 of log size on fields that the join did not learn from; the same fields for all pyramids of a seed."""
    draw = torch.Generator().manual_seed(seed)
    known, new = (fields(DRAWN, draw) for _ in range(2))
    torch.manual_seed(seed)
    eyes = branches(rates, FEATURES, device, alike=False)
    (x, y), (x_new, y_new) = ((_middles(eyes, rates, images), sizes) for images, sizes in (known, new))
    weights = torch.linalg.lstsq(x, y[:, None]).solution
    return float(1 - (x_new @ weights - y_new[:, None]).square().mean() / y_new.var(unbiased=False))


def fields(number: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (number, 1, edge, edge) whose middle pixel lies somewhere in a bright square, and the log of its edge."""
    low, high = np.log(SIZES_M)
    edges = (low + (high - low) * torch.rand(number, generator=draw)).exp().round()
    starts = -(torch.rand(2, number, generator=draw) * edges).floor()
    place = torch.arange(-WIDEST, WIDEST + 1)
    rows, columns = ((place >= s[:, None]) & (place < s[:, None] + edges[:, None]) for s in starts)
    image = (rows[:, :, None] & columns[:, None, :]).float()
    return (image + NOISE * torch.randn(image.shape, generator=draw))[:, None], edges.log().double()


@torch.no_grad()
def _middles(eyes: Sequence[nn.Module], rates: Sequence[int], images: Tensor) -> Tensor:
    """What all branches say of the middle pixel, and a one: (number, branches * channels + 1)."""
    device = next(eyes[0].parameters()).device
    near = (images[..., WIDEST - r : WIDEST + r + 1, WIDEST - r : WIDEST + r + 1].to(device) for r in rates)
    seen = [eye(image)[:, :, r, r].cpu() for eye, image, r in zip(eyes, near, rates, strict=True)]
    return torch.cat([*seen, torch.ones(len(images), 1)], 1).double()
