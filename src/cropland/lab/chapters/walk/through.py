"""A field goes through the network that ships: the code, the shape and the maps of every stage; and the trace of a
path that is painted over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise, product

import numpy as np
import torch
from scipy.ndimage import binary_closing
from scipy.ndimage import label as label_parts
from torch import Tensor

from cropland.data.labels import LabelOptions, read_labels
from cropland.demo import FIELDS, TILE
from cropland.geo.scene import open_scene
from cropland.geo.window import Window
from cropland.lab.charts import Bars, Box, Lines, Panel, Panels, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, mean_of_seeds, quartiles
from cropland.model import ModelFile, default_model
from cropland.networks.unet import UNet

__all__ = ["walk", "walk_detail"]

EDGE = 256  # working pixels of the chip: 512 m
COARSEST = 32  # the tile is cut to whole pixels of the coarsest map
STRIP = 6  # working pixels: land between fields that is no wider than that is a strip
LIKE = (("path of 2 m", 1), ("field of 20 m", 10), ("field of 500 m", 250))

STRIPS = (0, 1, 2, 4, 6, 8, 12)  # working pixels: classes of width of the land between two fields
PLACES = tuple(range(13, EDGE - 16, 29))  # rows where it is painted: at every position in a map pixel of 32
MARKS = ((1, slice(0, EDGE)), (10, slice(EDGE // 4, EDGE // 4 + 10)))  # rows and columns: a path, a field
METRES = "metres per pixel of the map"


@dataclass(frozen=True)
class Ground:
    """The sample tile at the working pixel, normalised as it is for mapping, with its label; and the model."""

    image: Tensor
    label: np.ndarray
    network: UNet
    pixel_m: float
    threshold: float

    def cut(self, rows: slice, columns: slice) -> Ground:
        """A part of it."""
        return replace(self, image=self.image[..., rows, columns], label=self.label[rows, columns])

    @property
    def picture(self) -> np.ndarray:
        """The image as RGB, 0 to 255."""
        rgb: np.ndarray = (self.image[0, :3].clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy()
        return rgb


def walk(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The line of code, the shape and the maps of every stage."""
    with torch.no_grad():
        yield _stages(chip_of(ground_of(device)))


def chip_of(ground: Ground) -> Ground:
    """The part of the tile that goes through the network."""
    return ground.cut(*richest(between_fields(ground.label), ground.label))


@cache
def ground_of(device: torch.device) -> Ground:
    """The sample tile as `cropland map` reads it for the model that ships."""
    model, scene = ModelFile.load(default_model()), open_scene(TILE)
    known = model.nearest_pixel(scene.pixel_m)
    ratio = known.pixel_m / scene.pixel_m
    working = replace(scene, grid=scene.working_grid(ratio))
    window = Window(0, 0, *(edge // COARSEST * COARSEST for edge in working.shape))
    image = scene.read(window, bands=model.bands, ratio=ratio)
    values = (model.statistics or scene.statistics(model.bands)).normalise(image.values, image.valid)
    label = read_labels(LabelOptions(labels=FIELDS, background="known")).on(working)(window)
    network = model.network().to(device)
    assert isinstance(network, UNet), "the stages below are a U-Net's"
    return Ground(torch.from_numpy(values)[None].to(device), label, network, known.pixel_m, known.threshold)


def between_fields(label: np.ndarray, widest: int = STRIP) -> np.ndarray:
    """Land between fields, at most `widest` pixels wide: what a closing of the fields adds to them."""
    fields, window = label == 1, np.ones((widest + 1, widest + 1), bool)
    closed = binary_closing(np.pad(fields, widest), window)
    found: np.ndarray = closed[widest:-widest, widest:-widest] & ~fields
    return found


def richest(strips: np.ndarray, label: np.ndarray) -> tuple[slice, slice]:
    """The window of the chip's size, in steps of 32 pixels, that has most strips and is half to nine tenths field."""
    rows, columns = ([slice(at, at + EDGE) for at in range(0, edge - EDGE + 1, COARSEST)] for edge in label.shape)
    windows = [*product(rows, columns)]
    fair = [window for window in windows if 0.5 <= np.mean(label[window] == 1) <= 0.9]
    return max(fair or windows, key=lambda window: strips[window].sum())


def stages(network: UNet, image: Tensor) -> dict[str, tuple[str, Tensor]]:
    """By name, in order: the line of code, and the map that it gives."""
    down = network.encoder(image)
    found = {f"encoder map {i}": (f"maps[{i}] = encoder(x)[{i}]", y) for i, y in enumerate(down)}
    y = down[-1]
    for i, (up, unit) in enumerate(zip(network.ups, network.units, strict=True)):
        skip = len(down) - 2 - i
        joined = torch.cat([up(y), down[skip]], 1) if skip >= 0 else up(y)
        y = unit(joined)
        code = f"y = units[{i}](cat([ups[{i}](y), maps[{skip}]], 1))" if skip >= 0 else f"y = units[{i}](ups[{i}](y))"
        found[f"decoder unit {i}"] = (code, y)
    return found | {"head": ("y = head(y)", network.head(y))}


def _stages(chip: Ground) -> Finding:
    found = stages(chip.network, chip.image)
    probability = found["head"][1].sigmoid()[0, 0].cpu().numpy()
    boxes = [Box(name, 0.5, 0.5, pixels / EDGE) for name, pixels in LIKE]
    panels = [Panel("the chip", raster(chip.picture), "x", _size(chip.image), boxes)]
    panels += [Panel(_caption(name, y), channels(y), code, _size(y)) for name, (code, y) in found.items()]
    rest = (
        ("probability", probability, "p = sigmoid(y[:, 0])"),
        ("mask", probability >= chip.threshold, f"p >= {chip.threshold:.3f}"),
        ("fields as people drew them", chip.label == 1, ""),
    )
    panels += [Panel(name, heat(y, low=0, high=1), code, " x ".join(map(str, y.shape))) for name, y, code in rest]
    bars = {"the image": exactly(chip.image.numel() / 1e3)}
    bars |= {_caption(name, y): exactly(y.numel() / 1e3) for name, (_, y) in found.items()}
    coarsest = min((y for _, y in found.values()), key=lambda y: y[0, 0].numel())
    numbers = {
        "kept": exactly(coarsest.numel() / chip.image.numel()),
        "channels": exactly(coarsest.shape[1]),
        "places": exactly(coarsest[0, 0].numel()),
    }
    charts = (Panels("From image to mask", panels), Bars("Numbers that each stage hands on", "thousands", bars))
    return Finding("walk.stages", numbers, charts)


def _size(y: Tensor) -> str:
    return " x ".join(map(str, y.shape[1:]))


def _caption(name: str, y: Tensor) -> str:
    return f"{name}, stride {EDGE // y.shape[-1]}"


def channels(y: Tensor) -> str:
    """The four channels that vary most over the places of a map (one, if it has no more), each from dark to light."""
    chosen = y[0].flatten(1).std(1).topk(min(4, y.shape[1])).indices
    maps = [each - each.amin() for each in y[0, chosen].cpu()]
    tiles = [(each / each.amax().clamp(min=1e-9)).numpy() for each in maps]
    return heat(tiles[0] if len(tiles) < 4 else np.block([tiles[:2], tiles[2:]]), low=0, high=1)


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
