"""Probability on the working grid, tile by tile, each tile with its whole receptive field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cropland.engines import Engine
from cropland.mapping.cut import Cut
from cropland.mapping.work import Done, Pixels, Work, read_ahead
from cropland.progress import stage

__all__ = ["compute_tiles"]


def compute_tiles(work: Work, cut: Cut, run: Sequence[int], engine: Engine) -> Iterator[Done]:
    """The tiles of a run; while one is computed, the next is read."""
    for number, pixels in read_ahead(lambda number: work.read(cut.units[number].padded), run):
        yield _computed(number, pixels, cut, engine)


def _computed(number: int, pixels: Pixels, cut: Cut, engine: Engine) -> Done:
    if pixels.error:
        return Done(number, error=pixels.error)
    rows, cols = cut.units[number].inner.slices
    valid = pixels.valid[rows, cols]
    if not valid.any():
        return Done(number, [valid], [valid])
    with stage("network"):
        logits = engine(pixels.values[None])
    return Done(number, [logits[0, 0, rows, cols]], [valid])
