"""A scene turned and mirrored, for the average over the eight ways to lay it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cropland.geo.reading import ImageFile
from cropland.geo.scene import Image, Scene
from cropland.geo.window import Window
from cropland.mapping.plane import Plane
from cropland.mapping.work import NO_DATA

__all__ = ["TURNS", "Turn", "Turned", "mean_of_turns"]

ROWS = 256  # of the mean in memory


@dataclass(frozen=True)
class Turn:
    """Swap rows and columns or not, then turn the order of the rows or not, and of the columns."""

    swap: bool
    rows: bool
    columns: bool

    def shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Of the turned grid."""
        return (shape[1], shape[0]) if self.swap else shape

    def window(self, window: Window, shape: tuple[int, int]) -> Window:
        """Where a window of the turned grid lies in the grid of `shape`."""
        height, width = self.shape(shape)
        row = height - window.row - window.height if self.rows else window.row
        col = width - window.col - window.width if self.columns else window.col
        return Window(col, row, window.width, window.height) if self.swap else Window(row, col, *window.shape)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Turn an array whose last axes are rows and columns."""
        values = values.swapaxes(-1, -2) if self.swap else values
        return values[..., :: -1 if self.rows else 1, :: -1 if self.columns else 1]

    def back(self, values: np.ndarray) -> np.ndarray:
        """Turn it back."""
        values = values[..., :: -1 if self.rows else 1, :: -1 if self.columns else 1]
        return values.swapaxes(-1, -2) if self.swap else values


TURNS = tuple(
    Turn(swap, rows, columns) for swap in (False, True) for rows in (False, True) for columns in (False, True)
)


@dataclass(frozen=True)
class Turned:
    """A scene that is read turned; `shape` is that of its working grid."""

    scene: Scene
    turn: Turn
    shape: tuple[int, int]

    @property
    def files(self) -> tuple[ImageFile, ...]:
        """Of the scene."""
        return self.scene.files

    def read(self, window: Window, *, bands: Sequence[str], ratio: float = 1.0) -> Image:
        """As `Scene.read`, of the turned working grid."""
        image = self.scene.read(self.turn.window(window, self.shape), bands=bands, ratio=ratio)
        return Image(self.turn(image.values), self.turn(image.valid))


def mean_of_turns(planes: Sequence[Plane], turns: Sequence[Turn], out: Path) -> Plane:
    """The mean of planes that were computed turned, laid back and rounded; no data where the first has none."""
    if len(planes) == 1:
        return planes[0]
    mean = Plane(out, planes[0].shape)
    height, width = mean.shape
    for start in range(0, height, ROWS):
        window = Window(start, 0, min(ROWS, height - start), width)
        laid = [
            turn.back(plane.read(_turned(turn, window, mean.shape))) for plane, turn in zip(planes, turns, strict=True)
        ]
        values = np.rint(np.mean(laid, axis=0, dtype=np.float32)).astype(np.uint8)
        mean.write(window, np.where(laid[0] == NO_DATA, np.uint8(NO_DATA), values))
    return mean


def _turned(turn: Turn, window: Window, shape: tuple[int, int]) -> Window:
    """Where a window of the grid lies in the turned one."""
    swapped = Window(window.col, window.row, window.width, window.height) if turn.swap else window
    height, width = turn.shape(shape)
    row = height - swapped.row - swapped.height if turn.rows else swapped.row
    col = width - swapped.col - swapped.width if turn.columns else swapped.col
    return Window(row, col, *swapped.shape)
