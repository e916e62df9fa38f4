"""Probability on the working grid by a network that slides down it: every pixel is computed once.

A run may begin anywhere: what is kept of rows further up than the network sees has no part in what it finds. So a run
that goes on, or that another machine computes, gives the bytes of one that came from the top.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32

from cropland.engines import Engine
from cropland.errors import ReadError
from cropland.geo.window import Tile, Window
from cropland.mapping.cut import Cut
from cropland.mapping.work import Done, Work, read_ahead
from cropland.progress import each
from cropland.streaming.slide import Slide, slide_down

__all__ = ["compute_swaths"]


def compute_swaths(work: Work, cut: Cut, run: Sequence[int], engine: Engine) -> Iterator[Done]:
    """The units of a run, which lie one below the other; while one band is computed, the next is read."""
    assert work.radius is not None, "a network without a bound does not slide"
    units, height = [cut.units[number] for number in run], cut.shape[0]
    slide = engine.slide(units[0].padded.width)
    top, heights = units[0].core.row, [unit.core.height for unit in units]
    first = max(0, top - work.radius) // slide.band
    bands = _Bands(work, units[0], slide.band, first * slide.band, _read_to(slide, top + sum(heights), height))
    found = each("network", slide_down(slide, bands, height, first=first, radius=work.radius))
    above = max(0, first * slide.band - slide.schedule.delay)
    logits = _regrouped((rows[0, 0, :, bands.core] for rows in found), [top - above, *heights])
    valid = _regrouped(bands.valid(), [top - first * slide.band, *heights])
    next(logits), next(valid)  # above the run
    for number, unit, found_here, valid_here in zip(run, units, logits, valid, strict=True):
        yield Done(number, found_here, valid_here, bands.error(unit.core, work.radius))


def _read_to(slide: Slide, stop: int, height: int) -> int:
    """The row to read to, for all rows above `stop` to come out."""
    steps = -(-(stop + slide.schedule.delay) // slide.band)
    return min(height, steps * slide.band)


@dataclass
class _Bands:
    """A strip from one row to another, normalised; where it has data waits until its rows come out of the network."""

    work: Work
    strip: Tile
    band: int
    start: int
    stop: int
    _waiting: deque[Bool[np.ndarray, "rows width"]] = field(default_factory=deque)
    _failed: list[tuple[Window, ReadError]] = field(default_factory=list)

    @property
    def core(self) -> slice:
        """The columns that count."""
        return self.strip.inner.slices[1]

    def __iter__(self) -> Iterator[Float32[np.ndarray, "1 band rows width"]]:
        whole = self.strip.padded
        windows = [
            Window(row, whole.col, min(self.band, self.stop - row), whole.width)
            for row in range(self.start, self.stop, self.band)
        ]
        for window, pixels in read_ahead(self.work.read, windows):
            self._waiting.append(pixels.valid[:, self.core])
            if pixels.error:
                self._failed.append((window, pixels.error))
            yield pixels.values[None]

    def valid(self) -> Iterator[Bool[np.ndarray, "rows width"]]:
        """Where there is data, in rows that were read; rows come out later than they go in, so some are waiting."""
        while self._waiting:
            yield self._waiting.popleft()

    def error(self, core: Window, radius: int) -> ReadError | None:
        """Why a unit cannot be trusted, if what the network sees for it could not be read."""
        low, high = core.row - radius, core.row + core.height + radius
        return next(
            (error for window, error in self._failed if low < window.row + window.height and window.row < high), None
        )


def _regrouped(parts: Iterable[np.ndarray], heights: Iterable[int]) -> Iterator[list[np.ndarray]]:
    """Rows that come in parts of any height, in lists of parts of these heights together."""
    parts, rest = iter(parts), np.empty((0, 0))
    for height in heights:
        group, missing = [], height
        while missing:
            rest = rest if len(rest) else next(parts)
            group.append(rest[:missing])
            missing, rest = missing - len(group[-1]), rest[len(group[-1]) :]
        yield group
