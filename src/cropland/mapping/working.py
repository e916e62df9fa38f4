"""Probability on the working grid, tile by tile, each tile with its whole receptive field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.special import expit

from cropland.data.statistics import Statistics
from cropland.engines import Engine
from cropland.errors import ModelError
from cropland.geo.scene import Scene
from cropland.geo.tiles import Tile, Window, tiles
from cropland.language import _
from cropland.model import Model

__all__ = ["NO_DATA", "Plane", "cut_tiles", "fill_plane", "levels", "read_ahead"]

NO_DATA = 255
AT_ONCE = 6_000_000  # pixels that the network sees in one go: some 2.5 GB with the shipped model
LEAST_CORE = 256
Place = TypeVar("Place")
Read = TypeVar("Read")


@dataclass(frozen=True)
class Plane:
    """A plane of uint8 in a plain file. Written by seeking: a full disk then raises, where a memory map would crash."""

    path: Path
    shape: tuple[int, int]

    def write(self, window: Window, values: UInt8[np.ndarray, "height width"]) -> None:
        """Write a window; the file grows as needed."""
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            for row, line in enumerate(values, window.row):
                file.seek(row * self.shape[1] + window.col)
                file.write(line.tobytes())

    def rows(self, start: int, count: int) -> UInt8[np.ndarray, "rows width"]:
        """Some whole rows."""
        with self.path.open("rb") as file:
            file.seek(start * self.shape[1])
            return np.frombuffer(file.read(count * self.shape[1]), np.uint8).reshape(count, self.shape[1])


def cut_tiles(shape: tuple[int, int], model: Model, *, size: int | None = None) -> list[Tile]:
    """The whole grid as one tile where it fits, else tiles as large as fit with their halo; or of the `size` given.

    Raises `ModelError` for a model that looks at the whole image and a grid that does not fit.
    """
    fits = shape[0] * shape[1] <= AT_ONCE
    if size is None and fits:
        size = max(shape)
    if model.radius is None:
        if not fits and (size or 0) < max(shape):
            raise ModelError(
                _(
                    "{name} looks at the whole image, which has {shape} x {shape2} working pixels, and "
                    "at most {at_once:,} fit; map a part of the scene, or use a network without "
                    "image-level pooling or group norm",
                    name=model.name,
                    shape=shape[0],
                    shape2=shape[1],
                    at_once=AT_ONCE,
                )
            )
        return tiles(shape, size=max(shape), halo=0, stride=1)
    core = size or max(LEAST_CORE, isqrt(AT_ONCE) - 2 * model.radius)
    return tiles(shape, size=core, halo=model.radius, stride=model.stride)


def fill_plane(
    plane: Plane,
    scene: Scene,
    cut: Sequence[Tile],
    *,
    engine: Engine,
    statistics: Statistics,
    ratio: float,
    advance: Callable[[int], None],
) -> None:
    """Write the probability of every tile's core; while one is computed, the next is read."""

    def read(tile: Tile) -> tuple[Float32[np.ndarray, "band height width"], Bool[np.ndarray, "height width"]]:
        image = scene.read(tile.padded, bands=statistics.bands, ratio=ratio)
        rows, cols = tile.inner.slices
        return statistics.normalise(image.values, image.valid), image.valid[rows, cols]

    for tile, (values, valid) in read_ahead(read, cut):
        plane.write(tile.core, _probability(engine, values, valid, tile.inner))
        advance(tile.core.height * tile.core.width)


def _probability(
    engine: Engine, values: np.ndarray, valid: Bool[np.ndarray, "height width"], inner: Window
) -> UInt8[np.ndarray, "height width"]:
    if not valid.any():
        return np.full(valid.shape, NO_DATA, np.uint8)
    rows, cols = inner.slices
    return levels(engine(values[None])[0, 0, rows, cols], valid)


def levels(
    logits: Float[np.ndarray, "height width"], valid: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width"]:
    """Probabilities as they are written: 0 to 254, and 255 where there is no data."""
    return np.where(valid, np.rint(expit(logits) * 254), NO_DATA).astype(np.uint8)


def read_ahead(read: Callable[[Place], Read], cut: Sequence[Place]) -> Iterator[tuple[Place, Read]]:
    """What is read of each, while the one before is worked on."""
    if not cut:
        return
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(read, cut[0])
        for tile, following in zip(cut, (*cut[1:], None), strict=True):
            ready = waiting.result()
            if following is not None:
                waiting = reader.submit(read, following)
            yield tile, ready
