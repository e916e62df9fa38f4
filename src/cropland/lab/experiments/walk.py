"""A field goes through the network that ships: the line of code, the shape and the maps of every stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import torch
from scipy.ndimage import binary_closing
from torch import Tensor

from cropland.data.read_labels import LabelOptions, read_labels
from cropland.data.statistics import scene_statistics
from cropland.demo import FIELDS, TILE
from cropland.geo.scene import open_scene
from cropland.geo.tiles import Window
from cropland.lab.charts import Bars, Box, Panel, Panels, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, exactly
from cropland.model import Model, default_model
from cropland.networks.unet import UNet

__all__ = ["walk"]

EDGE = 256  # working pixels of the chip: 512 m
COARSEST = 32  # the tile is cut to whole pixels of the coarsest map
STRIP = 6  # working pixels: land between fields that is no wider than that is a strip
LIKE = (("path of 2 m", 1), ("field of 20 m", 10), ("field of 500 m", 250))


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
    model, scene = Model.load(default_model()), open_scene(TILE)
    known = model.nearest_pixel(scene.pixel_m)
    ratio = known.pixel_m / scene.pixel_m
    working = replace(scene, grid=scene.working_grid(ratio))
    window = Window(0, 0, *(edge // COARSEST * COARSEST for edge in working.shape))
    image = scene.read(window, bands=model.bands, ratio=ratio)
    values = (model.statistics or scene_statistics(scene, model.bands)).normalise(image.values, image.valid)
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
