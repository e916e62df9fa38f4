"""How much an experiment may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Budget:
    """What is measured around, and how often: one factor is varied at a time about this middle, never a grid.

    `rounds` are timed repeats of each contender, `size` the edge of the middle image in pixels, `channels` those of
    the middle layer, `steps` those of a short training; with no `seeds` nothing is trained. `every` thins the sweeps:
    1 keeps all of their values. `chips` is a chip folder of the user's own, None the sample that ships; `network` is
    what the experiment of that name takes apart.
    """

    name: str
    rounds: int
    size: int
    channels: int
    seeds: int
    steps: int
    every: int
    chips: Path | None = None
    network: str | None = None

    def sweep(self, values: Sequence[T]) -> Sequence[T]:
        """The values of a sweep that this budget can afford; the last one always."""
        return values[(len(values) - 1) % self.every :: self.every]


QUICK = Budget("quick", rounds=5, size=128, channels=64, seeds=0, steps=0, every=2)
FULL = Budget("full", rounds=11, size=256, channels=128, seeds=5, steps=240, every=1)
