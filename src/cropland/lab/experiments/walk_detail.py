"""What becomes of fine detail: a path is painted over a field, and its trace is followed through the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import label as label_parts
from torch import Tensor

from cropland.lab.charts import Bars, Lines, Panel, Panels, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.experiments.walk import EDGE, LIKE, Ground, between_fields, chip_of, ground_of
from cropland.lab.measure import Budget, Number, exactly, mean_of_seeds, quartiles

__all__ = ["walk_detail"]

STRIPS = (0, 1, 2, 4, 6, 8, 12)  # working pixels: classes of width of the land between two fields
PLACES = tuple(range(13, EDGE - 16, 29))  # rows where it is painted: at every position in a map pixel of 32
MARKS = ((1, slice(0, EDGE)), (10, slice(EDGE // 4, EDGE // 4 + 10)))  # rows and columns: a path, a field
METRES = "metres per pixel of the map"


def walk_detail(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """What is left of a path in every map, which way its trace takes, and which paths the mask shows."""
    with torch.no_grad():
        ground = ground_of(device)
        chip, strips = chip_of(ground), torch.from_numpy(between_fields(ground.label))
        colour = ground.image[0][:, strips].mean(1)  # of the narrow land between fields
        places = budget.sweep(PLACES)
        yield _path(chip, colour, places)
        yield _ways(chip, colour, places)
        yield _opened(ground)


def painted(chip: Ground, colour: Tensor, row: int, height: int, columns: slice = slice(None)) -> Tensor:
    """The chip's image with a path of so many rows (or, over some columns, a patch) in a colour."""
    image = chip.image.clone()
    image[0, :, row : row + height, columns] = colour[:, None, None]
    return image


def trace(before: Tensor, after: Tensor, rows: slice, columns: slice) -> float:
    """The change of a map in the places that a mark covers, as a share of the map's spread over all places (RMS)."""
    stride = EDGE / before.shape[-1]
    spread = (before - before.mean((2, 3), keepdim=True)).square().mean().sqrt()
    r, c = (slice(int(s.start // stride), int(-(-s.stop // stride))) for s in (rows, columns))
    return float((after - before)[..., r, c].square().mean().sqrt() / spread)


def _path(chip: Ground, colour: Tensor, places: Sequence[int]) -> Finding:
    clean = chip.network.encoder(chip.image)
    strides = [EDGE // y.shape[-1] for y in clean]
    path, field = (
        [quartiles(values) for values in zip(*(_left(chip, clean, colour, row, its) for row in places), strict=True)]
        for its in MARKS
    )
    numbers = {
        "coarsest": path[-1],
        "finest": path[0],
        "field": field[-1],
        "pixel": exactly(strides[-1] * chip.pixel_m),
    }
    wide: dict[str, list[Number | None]] = {name: [exactly(pixels / s) for s in strides] for name, pixels in LIKE}
    metres = [s * chip.pixel_m for s in strides]
    left = {"path of 2 m": path, "field of 20 m": field}
    title = "How many pixels of the map each is wide"
    charts = (
        Lines(title, METRES, "pixels of the map", metres, wide, {"one pixel": 1.0}, log_x=True, log_y=True),
        Lines("What is left of it in the map", METRES, "share of the map's spread", metres, left, log_x=True),
    )
    return Finding("walk_detail.path", numbers, charts)


def _left(chip: Ground, clean: Sequence[Tensor], colour: Tensor, row: int, its: tuple[int, slice]) -> list[float]:
    height, columns = its
    after = chip.network.encoder(painted(chip, colour, row, height, columns))
    return [trace(y, z, slice(row, row + height), columns) for y, z in zip(clean, after, strict=True)]


def _ways(chip: Ground, colour: Tensor, places: Sequence[int]) -> Finding:
    """Only one map of the encoder is told of the path; the others are of the image without it."""
    clean, found = chip.network.encoder(chip.image), list[list[float]]()
    logits = after_encoder(chip, clean)
    for row in places:
        marked = chip.network.encoder(painted(chip, colour, row, 1))
        whole = (after_encoder(chip, marked) - logits)[..., row, :]
        told = [[*clean[:i], marked[i], *clean[i + 1 :]] for i in range(len(clean))]
        each = [(after_encoder(chip, maps) - logits)[..., row, :] for maps in told]
        found.append([float((one * whole).sum() / whole.square().sum()) for one in each])
    shares = [quartiles(values) for values in zip(*found, strict=True)]
    strides = [EDGE // y.shape[-1] for y in clean]
    numbers = {"fine": quartiles(row[0] + row[1] for row in found), "coarsest": shares[-1]}
    bars = {f"map of stride {stride}": share for stride, share in zip(strides, shares, strict=True)}
    return Finding(
        "walk_detail.ways", numbers, [Bars("The way that the trace of a 2 m path takes to the output", "share", bars)]
    )


def after_encoder(chip: Ground, maps: Sequence[Tensor]) -> Tensor:
    """The logits that the decoder makes of these maps in the place of the encoder's."""
    hook = chip.network.encoder.register_forward_hook(lambda *_: list(maps))
    logits: Tensor = chip.network(chip.image)
    hook.remove()
    return logits


def _opened(ground: Ground) -> Finding:
    widths, said = widths_between(ground.label, STRIPS[-1]), probability(ground) >= ground.threshold
    curve = [_left_out(said, (widths > low) & (widths <= high)) for low, high in pairwise(STRIPS)]
    numbers = {"narrowest": curve[0], "widest": curve[-1], "width": exactly(STRIPS[-1] * ground.pixel_m)}
    line = Lines(
        "Share of the land between two fields that the mask leaves out",
        "width in metres, at most",
        "share",
        [width * ground.pixel_m for width in STRIPS[1:]],
        {"land between fields": curve},
    )
    chip = chip_of(ground)
    strips = widths_between(chip.label, STRIPS[-1]) > 0
    panels = [
        Panel("the chip", raster(chip.picture)),
        Panel("land between fields, at most 24 m wide", heat(strips)),
        Panel("the mask", heat(probability(chip) >= chip.threshold)),
    ]
    return Finding("walk_detail.opened", numbers, [line, Panels("Paths and roads between the fields", panels)])


def widths_between(label: np.ndarray, widest: int) -> np.ndarray:
    """How many pixels wide the land between two fields is, row-wise or column-wise; 0 elsewhere."""
    found = np.zeros(label.shape, int)
    for width in range(widest, 0, -1):
        found[between_fields(label, width)] = width
    return found


def _left_out(said: np.ndarray, strips: np.ndarray) -> Number:
    """Of every strip the share of pixels that is not called cropland: mean over strips, 95 % interval."""
    numbered, count = label_parts(strips, np.ones((3, 3)))
    return mean_of_seeds([float(np.mean(~said[numbered == strip])) for strip in range(1, count + 1)])


def probability(ground: Ground) -> np.ndarray:
    """Of cropland, per pixel."""
    found: np.ndarray = ground.network(ground.image).sigmoid()[0, 0].cpu().numpy()
    return found
