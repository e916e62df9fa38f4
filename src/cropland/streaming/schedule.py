"""Which rows of every map there are at each step, and which of them lie beyond the image; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

__all__ = ["Beyond", "Block", "Length", "Schedule"]

Beyond = Literal["fill", "clamp"]


@dataclass(frozen=True)
class Length:
    """Rows (or columns) of a map for images of `base`, `base` + 1, ... over one period, and how many a period adds."""

    base: int
    lengths: tuple[int, ...]
    per_period: int

    def of(self, image: int) -> int:
        """Rows of the map of an image of that many rows."""
        periods, rest = divmod(image - self.base, len(self.lengths))
        return self.lengths[rest] + periods * self.per_period


@dataclass(frozen=True)
class Block:
    """What an operation sees that looks beyond its own row: the rows that were `kept`, and the new ones behind them.

    The map runs `delay` rows behind the image; `scale` is image rows per row. Rows beyond it are filled with what the
    operation takes them for, or are the nearest row.
    """

    kept: int
    delay: int
    scale: Fraction
    length: Length
    beyond: Beyond

    def rows(self, step: int, band: int) -> tuple[int, int]:
        """The first row and the one after the last, counted from the top of the map."""
        new = int(band / self.scale)
        start = step * new - self.delay
        return start - self.kept, start + new

    def is_inside(self, step: int, band: int, height: int) -> bool:
        """Whether all its rows are of the map."""
        first, last = self.rows(step, band)
        return first >= 0 and last <= self.length.of(height)

    def mask(self, step: int, band: int, height: int) -> Bool[np.ndarray, " rows"] | Int64[np.ndarray, " rows"]:
        """Which rows are of the map, or for `clamp` the row of the block to take for each."""
        first, last = self.rows(step, band)
        rows, length = np.arange(first, last), self.length.of(height)
        if self.beyond == "fill":
            return (rows >= 0) & (rows < length)
        return (rows.clip(0, length - 1) - first).clip(0, last - first - 1)


@dataclass(frozen=True)
class Schedule:
    """When what is there. Bands have a multiple of `stride` rows; the output runs `delay` rows behind the image.

    `blocks` are those that may lie beyond their maps, in the order of the step's masks; `kept` are the shapes of what
    is kept, where lengths depend on the width of the image.
    """

    stride: int
    delay: int
    blocks: tuple[Block, ...]
    kept: tuple[tuple[int | Length, ...], ...]

    def steps(self, height: int, band: int) -> int:
        """How many bands until the last row is out; bands after the end of the image may hold anything."""
        return -(-(height + self.delay) // band)

    def rows(self, step: int, band: int, height: int) -> tuple[int, slice]:
        """The image row of the first row that comes out and counts, and those rows as a part of what comes out."""
        start = step * band - self.delay
        first = max(start, 0)
        return first, slice(first - start, max(first, min(start + band, height)) - start)

    def is_inside(self, step: int, band: int, height: int) -> bool:
        """Whether no operation sees a row beyond its map."""
        return all(block.is_inside(step, band, height) for block in self.blocks)

    def masks(self, step: int, band: int, height: int) -> list[np.ndarray]:
        """One for each block."""
        return [block.mask(step, band, height) for block in self.blocks]

    def shapes(self, width: int) -> list[tuple[int, ...]]:
        """Of what is kept, for images of that width."""
        return [tuple(each if isinstance(each, int) else each.of(width) for each in sizes) for sizes in self.kept]
