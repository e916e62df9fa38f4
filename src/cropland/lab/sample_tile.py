"""The sample tile that ships, as the experiments look at it."""

from __future__ import annotations

import torch
from torch import Tensor

from cropland.demo import TILE
from cropland.geo.scene import open_scene
from cropland.geo.window import Window


def grey(size: int, *, row: int = 0, column: int = 0) -> Tensor:
    """Mean of red, green and blue, (1, 1, size, size) from 0 to 1, 1 m pixels."""
    scene = open_scene(TILE)
    values = scene.read(Window(row, column, size, size), bands=scene.bands).values
    return torch.from_numpy(values).mean(0)[None, None] / 255


def normalised(edge: int = 512) -> Tensor:
    """Red, green and blue at 2 m, normalised as a map's: (3, edge, edge) of the upper left; 512 is all."""
    scene = open_scene(TILE)
    image = scene.read(Window(0, 0, edge, edge), bands=scene.bands, ratio=2.0)
    return torch.from_numpy(scene.statistics(scene.bands).normalise(image.values, image.valid))
