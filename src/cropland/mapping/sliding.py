"""Probability on the working grid by a network that slides down it: every pixel is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from cropland.data.statistics import Statistics
from cropland.engines import Engine, NoSlideError
from cropland.geo.scene import Scene
from cropland.geo.tiles import Tile, Window, tiles
from cropland.language import Said, said
from cropland.mapping.working import Plane, cut_tiles, fill_plane, levels, read_ahead
from cropland.model import Model
from cropland.streaming.slide import slide_down

__all__ = ["cut_strips", "slide_or_tile"]

WIDEST = 8192  # columns of a strip: what is kept takes some 22 KB for each with the shipped model
Known = Bool[np.ndarray, "rows width"]


def cut_strips(shape: tuple[int, int], model: Model) -> list[Tile]:
    """The whole width as one strip, or as few as are no wider than fits, each with its field at either side."""
    width, halo = shape[1], model.radius
    if width <= WIDEST or halo is None:
        return tiles((1, width), size=width, halo=0, stride=1)
    least = 2 * halo  # a core narrower than this would be computed more often than once again
    many = ceil(width / max(WIDEST - 2 * halo, least))
    return tiles((1, width), size=ceil(width / many), halo=halo, stride=model.stride)


def slide_or_tile(
    plane: Plane,
    scene: Scene,
    model: Model,
    *,
    engine: Engine,
    statistics: Statistics,
    ratio: float,
    advance: Callable[[int], None],
) -> tuple[Said, ...]:
    """Write the whole plane, strip by strip, or in overlapping tiles if the network cannot slide, which a note says."""
    how: dict[str, Any] = {"engine": engine, "statistics": statistics, "ratio": ratio, "advance": advance}
    try:
        _slide(plane, scene, cut_strips(plane.shape, model), **how)
    except NoSlideError as error:  # before anything is written
        fill_plane(plane, scene, cut_tiles(plane.shape, model), **how)
        return (said("Mapped in overlapping tiles, since the network cannot slide: {why}.", why=error.reason),)
    return ()


def _slide(
    plane: Plane,
    scene: Scene,
    strips: list[Tile],
    *,
    engine: Engine,
    statistics: Statistics,
    ratio: float,
    advance: Callable[[int], None],
) -> None:
    for strip in strips:
        slide = engine.slide(strip.padded.width)
        known = _Waiting()
        bands = _bands(scene, strip, plane.shape[0], slide.band, statistics=statistics, ratio=ratio, known=known)
        _, core = strip.inner.slices
        row = 0
        for logits in slide_down(slide, bands, plane.shape[0]):
            found = logits[0, 0, :, core]
            window = Window(row, strip.core.col, *found.shape)
            plane.write(window, levels(found, known.first(found.shape[0])))
            row += found.shape[0]
            advance(found.size)


class _Waiting:
    """Which pixels have data, in rows that were read and did not come out yet."""

    def __init__(self) -> None:
        self.rows: list[Known] = []

    def first(self, count: int) -> Known:
        """The next rows, which are forgotten."""
        rows = np.concatenate(self.rows)
        self.rows = [rows[count:]]
        return rows[:count]


def _bands(
    scene: Scene,
    strip: Tile,
    height: int,
    band: int,
    *,
    statistics: Statistics,
    ratio: float,
    known: _Waiting,
) -> Iterator[Float32[np.ndarray, "1 band rows width"]]:
    """The strip from top to bottom, normalised; while one band is computed, the next is read."""
    _, core = strip.inner.slices

    def read(window: Window) -> tuple[Float32[np.ndarray, "band rows width"], Known]:
        image = scene.read(window, bands=statistics.bands, ratio=ratio)
        return statistics.normalise(image.values, image.valid), image.valid[:, core]

    rows = [(row, min(band, height - row)) for row in range(0, height, band)]
    windows = [Window(row, strip.padded.col, count, strip.padded.width) for row, count in rows]
    for _, (values, valid) in read_ahead(read, windows):
        known.rows.append(valid)
        yield values[None]
