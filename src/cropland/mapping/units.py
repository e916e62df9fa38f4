"""How a grid is cut into units, each computed, written and counted as a whole; and a scene that is read flipped.

Sizes follow from the model, the grid and the memory that was named, never from what happens to be free: a run that
goes on, and a run on other machines, cut the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isqrt
from typing import Literal, Protocol

import numpy as np

from cropland.errors import ModelError
from cropland.geo.reading import ImageFile
from cropland.geo.scene import Image, Scene
from cropland.geo.window import Tile, Window, round_up, tiles
from cropland.model import ModelFile

__all__ = ["FLIPS", "LEAST_CORE", "Cut", "Flip", "Flipped", "Readable", "Way", "cut_swaths", "cut_tiles", "least_width"]


Way = Literal["slide", "tiles"]
WIDEST = 8192  # columns of a strip: what is kept takes some 22 KB for each with the shipped model
SWATH = 1 << 20  # pixels of a unit down a strip: a fraction of a second
AT_ONCE = 6_000_000  # pixels that the network sees in one go: some 2.5 GB with the shipped model
LEAST_CORE = 256


@dataclass(frozen=True)
class Cut:
    """The units of a grid of `shape`; their cores partition it."""

    way: Way
    shape: tuple[int, int]
    units: tuple[Tile, ...]

    def runs(self, wanted: Sequence[int], *, most: int | None = None) -> list[list[int]]:
        """Some of the units, ascending, in runs that are computed in one go: down a strip, or any tiles.

        most: units of a run; no limit if not given.
        """
        runs: list[list[int]] = []
        for number in wanted:
            if runs and self._follows(runs[-1][-1], number) and (most is None or len(runs[-1]) < most):
                runs[-1].append(number)
            else:
                runs.append([number])
        return runs

    def _follows(self, before: int, number: int) -> bool:
        above, below = self.units[before].core, self.units[number].core
        return self.way == "tiles" or (below.col == above.col and below.row == above.row + above.height)


def cut_swaths(shape: tuple[int, int], model: ModelFile, *, widest: int | None = None) -> Cut:
    """Units down strips: the whole width as one strip, or as few as are no wider than `widest` with their field."""
    units = [
        Tile(strip.core._replace(row=row, height=count), strip.padded._replace(row=row, height=count))
        for strip in _strips(shape, model, WIDEST if widest is None else widest)
        for row, count in _swaths(shape[0], strip.padded.width)
    ]
    return Cut("slide", shape, tuple(units))


def cut_tiles(shape: tuple[int, int], model: ModelFile, *, size: int | None = None, at_once: int | None = None) -> Cut:
    """The whole grid as one tile where it fits, else tiles as large as fit with their halo; or of the `size` given.

    at_once: pixels that the network may see. Raises `ModelError` for a model that looks at the whole image and a grid
    that does not fit.
    """
    at_once = AT_ONCE if at_once is None else at_once
    fits = shape[0] * shape[1] <= at_once
    if size is None and fits:
        size = max(shape)
    if model.radius is None:
        if not fits and (size or 0) < max(shape):
            raise ModelError(
                "{name} looks at the whole image, which has {shape} x {shape2} working pixels, and "
                "at most {at_once:,} fit; map a part of the scene, or use a network without "
                "image-level pooling or group norm",
                name=model.name,
                shape=shape[0],
                shape2=shape[1],
                at_once=at_once,
            )
        return Cut("tiles", shape, tuple(tiles(shape, size=max(shape), halo=0, stride=1)))
    core = size or max(LEAST_CORE, isqrt(at_once) - 2 * model.radius)
    return Cut("tiles", shape, tuple(tiles(shape, size=core, halo=model.radius, stride=model.stride)))


def least_width(width: int, model: ModelFile) -> int:
    """Columns of the narrowest strip: a core narrower than its halo would be computed more often than once again."""
    return width if model.radius is None else min(width, 4 * model.radius)


def _strips(shape: tuple[int, int], model: ModelFile, widest: int) -> list[Tile]:
    width, halo = shape[1], model.radius
    widest = max(widest, least_width(width, model))
    if width <= widest or halo is None:
        return tiles((1, width), size=width, halo=0, stride=1)
    # `tiles` rounds halo and core up to the stride: a strip stays within the widest with both.
    stride = model.stride
    core = max(stride, (widest - 2 * round_up(halo, stride)) // stride * stride)
    many = ceil(width / core)
    return tiles((1, width), size=ceil(width / many), halo=halo, stride=model.stride)


def _swaths(height: int, width: int) -> list[tuple[int, int]]:
    """First rows and heights, of about `SWATH` pixels each."""
    many = max(1, round(height * width / SWATH))
    size = ceil(height / many)
    return [(row, min(size, height - row)) for row in range(0, height, size)]


@dataclass(frozen=True)
class Flip:
    """One of the eight flips and rotations: swap rows and columns or not, then reverse the rows or not, the columns."""

    swap: bool
    rows: bool
    columns: bool

    def shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Of the flipped grid."""
        return (shape[1], shape[0]) if self.swap else shape

    def window(self, window: Window, shape: tuple[int, int]) -> Window:
        """Where a window of the flipped grid lies in the grid of `shape`."""
        height, width = self.shape(shape)
        row = height - window.row - window.height if self.rows else window.row
        col = width - window.col - window.width if self.columns else window.col
        return Window(col, row, window.width, window.height) if self.swap else Window(row, col, *window.shape)

    def into(self, window: Window, shape: tuple[int, int]) -> Window:
        """Where a window of the grid of `shape` lies in the flipped one."""
        swapped = Window(window.col, window.row, window.width, window.height) if self.swap else window
        height, width = self.shape(shape)
        row = height - swapped.row - swapped.height if self.rows else swapped.row
        col = width - swapped.col - swapped.width if self.columns else swapped.col
        return Window(row, col, *swapped.shape)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Flip an array whose last axes are rows and columns."""
        values = values.swapaxes(-1, -2) if self.swap else values
        return values[..., :: -1 if self.rows else 1, :: -1 if self.columns else 1]

    def back(self, values: np.ndarray) -> np.ndarray:
        """The flipped array as it was."""
        values = values[..., :: -1 if self.rows else 1, :: -1 if self.columns else 1]
        return values.swapaxes(-1, -2) if self.swap else values


FLIPS = tuple(
    Flip(swap, rows, columns) for swap in (False, True) for rows in (False, True) for columns in (False, True)
)


@dataclass(frozen=True)
class Flipped:
    """A scene that is read flipped; `shape` is that of its working grid."""

    scene: Scene
    flip: Flip
    shape: tuple[int, int]

    @property
    def files(self) -> tuple[ImageFile, ...]:
        """Of the scene."""
        return self.scene.files

    def read(self, window: Window, *, bands: Sequence[str], ratio: float = 1.0) -> Image:
        """As `Scene.read`, of the flipped working grid."""
        image = self.scene.read(self.flip.window(window, self.shape), bands=bands, ratio=ratio)
        return Image(self.flip(image.values), self.flip(image.valid))


class Readable(Protocol):
    """A scene, as it is or flipped."""

    @property
    def files(self) -> tuple[ImageFile, ...]: ...

    def read(self, window: Window, *, bands: Sequence[str], ratio: float = 1.0) -> Image: ...
