"""Which rows of every map there are at each step, and which of them lie beyond the image; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import prod
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int64

__all__ = ["Beyond", "Block", "Kept", "Length", "Schedule", "usual_band"]

ROWS = 192  # of a band: fewer cost time at each step, more cost memory (benchmarks/sliding.py)
PIXELS = (
    1 << 20
)  # of a band at most: 8,192 columns and 192 rows would take a tenth more memory for a hundredth of speed
BYTES = 32  # of memory for each number that is kept or in the largest map, in single precision: 23 to 35 measured
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
    """What an operation sees that looks beyond its own row: `above` rows that another step had too, and the new ones.

    The map runs `delay` rows behind the image; `scale` is image rows per row. Rows beyond the map are filled with what
    the operation takes them for, or are the nearest.
    """

    above: int
    delay: int
    scale: Fraction
    length: Length
    beyond: Beyond

    def rows(self, step: int, band: int) -> tuple[int, int]:
        """The first row and the one after the last, counted from the top of the map."""
        new = int(band / self.scale)
        start = step * new - self.delay
        return start - self.above, start + new

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
class Kept:
    """Rows that are kept for the next step: their shape, with lengths that depend on the image's width."""

    sizes: tuple[int | Length, ...]

    def shape(self, width: int) -> tuple[int, ...]:
        """For an image of that width."""
        return tuple(size if isinstance(size, int) else size.of(width) for size in self.sizes)


@dataclass(frozen=True)
class Schedule:
    """When what is there. Bands have a multiple of `stride` rows; the output runs `delay` rows behind the image.

    `largest`: numbers in a step's largest map, for each column of the image. `blocks` are those that may lie beyond
    their maps, in the order of the step's masks.
    """

    stride: int
    delay: int
    largest: int
    blocks: tuple[Block, ...]
    kept: tuple[Kept, ...]

    def band(self, width: int) -> int:
        """A height of bands that is worth a step for images of that width."""
        return usual_band(self.stride, width)

    @property
    def bytes_per_column(self) -> int:
        """About what a slide takes for each column of the image: what is kept, in both forms, and what is computed."""
        wide = 1024 * self.stride
        return BYTES * (sum(prod(kept.shape(wide)) for kept in self.kept) // wide + self.largest)

    def steps(self, height: int, band: int) -> int:
        """How many bands until the last row is out; bands after the end of the image may hold anything."""
        return -(-(height + self.delay) // band)

    def rows(self, step: int, band: int, height: int) -> slice:
        """The part of what comes out that is of the image."""
        start = step * band - self.delay
        return slice(max(0, -start), max(0, -start, min(band, height - start)))

    def is_inside(self, step: int, band: int, height: int) -> bool:
        """Whether no operation sees a row beyond its map."""
        return all(block.is_inside(step, band, height) for block in self.blocks)

    def masks(self, step: int, band: int, height: int) -> list[np.ndarray]:
        """One for each block."""
        return [block.mask(step, band, height) for block in self.blocks]

    def first(self, width: int) -> list[Float[np.ndarray, ...]]:
        """What is kept before the first step, for an image of that width."""
        return [np.zeros(kept.shape(width), np.float32) for kept in self.kept]

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"blocks": [asdict(each) | {"scale": str(each.scale)} for each in self.blocks]}

    @staticmethod
    def of(plain: Mapping[str, Any]) -> Schedule:
        """From what `plain` gave."""
        blocks = (
            Block(**each | {"scale": Fraction(each["scale"]), "length": _length(each["length"])})
            for each in plain["blocks"]
        )
        kept = (Kept(tuple(n if isinstance(n, int) else _length(n) for n in each["sizes"])) for each in plain["kept"])
        return Schedule(plain["stride"], plain["delay"], plain["largest"], tuple(blocks), tuple(kept))


def usual_band(stride: int, width: int = 1) -> int:
    """A height of bands that is worth a step: about 192 rows, fewer of wide images."""
    return stride * max(1, round(min(ROWS, PIXELS / width) / stride))


def _length(plain: Mapping[str, Any]) -> Length:
    return Length(plain["base"], tuple(plain["lengths"]), plain["per_period"])
