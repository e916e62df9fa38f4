"""How much the maps of a mosaic differ where they meet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from rich.table import Table

from cropland.language import _

__all__ = ["Border", "Borders", "table"]

NO_DATA = 255
LEVELS = 254  # of a probability of 1


@dataclass(frozen=True)
class Border:
    """Two scenes where they meet; None: nothing to measure.

    pixels: that both scenes know. difference: the mean of |p1 - p2| on them. disagreeing: the share of them whose class
    differs. steps: neighbours in the mosaic on either side of the border. seam: the mean of |p(x) - p(y)| over these,
    divided by its mean over neighbours within the two scenes: at 1 the border cannot be told from the inside.
    """

    scenes: tuple[str, str]
    pixels: int
    difference: float | None
    disagreeing: float | None
    steps: int
    seam: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Borders:
    """Sums over the blocks of a mosaic, in whole numbers, so that their order has no part in them.

    A border runs between neighbours (left and right, upper and lower) of which one is made from a scene and not from
    another, and its neighbour from that other.
    """

    def __init__(self, classes: UInt8[np.ndarray, 256]) -> None:
        self.classes = classes  # of each level
        self.common: defaultdict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(3, np.int64))
        self.across: defaultdict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(2, np.int64))
        self.inside: defaultdict[int, np.ndarray] = defaultdict(lambda: np.zeros(2, np.int64))

    def add(
        self,
        scenes: Sequence[int],
        maps: UInt8[np.ndarray, "scene height width"],
        used: Bool[np.ndarray, "scene height width"],
        mosaic: UInt8[np.ndarray, "height width"],
        core: tuple[int, int],
    ) -> None:
        """Add a block, which may reach one pixel further than its `core` to the right and below.

        maps: what each of these scenes says. used: where it is part of the mosaic.
        """
        inner = maps[:, : core[0], : core[1]]
        known = inner != NO_DATA
        for one, other in combinations(range(len(scenes)), 2):
            both = known[one] & known[other]
            if both.any():
                self.common[_pair(scenes[one], scenes[other])] += self._compared(inner[one][both], inner[other][both])
        for here, there in _neighbours(mosaic, core):
            self._add_steps(scenes, used[:, *here], used[:, *there], _steps(mosaic[here], mosaic[there]))

    def found(self, names: Sequence[str]) -> list[Border]:
        """Every pair of scenes that meet."""
        return [self._border(pair, names) for pair in sorted(self.common.keys() | self.across.keys())]

    def _compared(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        apart = np.abs(one.astype(np.int64) - other).sum()
        return np.array([one.size, apart, (self.classes[one] != self.classes[other]).sum()])

    def _add_steps(self, scenes: Sequence[int], here: np.ndarray, there: np.ndarray, steps: np.ndarray) -> None:
        """`steps` is -1 where one of the neighbours is unknown."""
        known = steps >= 0
        same = known & (here == there).all(axis=0)
        for place, scene in enumerate(scenes):
            self.inside[scene] += _summed(steps, same & here[place])
        if (same == known).all():
            return
        for one, other in combinations(range(len(scenes)), 2):
            apart = here[one] & ~here[other] & there[other] | here[other] & ~here[one] & there[one]
            apart |= there[one] & ~there[other] & here[other] | there[other] & ~there[one] & here[one]
            if (known & apart).any():
                self.across[_pair(scenes[one], scenes[other])] += _summed(steps, known & apart)

    def _border(self, pair: tuple[int, int], names: Sequence[str]) -> Border:
        pixels, apart, others = map(int, self.common.get(pair, (0, 0, 0)))
        steps, across = map(int, self.across.get(pair, (0, 0)))
        count, inside = map(int, self.inside[pair[0]] + self.inside[pair[1]])
        return Border(
            (names[pair[0]], names[pair[1]]),
            pixels,
            apart / pixels / LEVELS if pixels else None,
            others / pixels if pixels else None,
            steps,
            (across / steps) / (inside / count) if steps and inside else None,
        )


def table(borders: Sequence[Border]) -> Table:
    """For a person."""
    shown = Table(box=None, pad_edge=False)
    for heading in (_("scene"), _("meets"), _("common pixels"), _("mean difference"), _("other class"), _("seam")):
        shown.add_column(heading, justify="left" if len(shown.columns) < 2 else "right")
    for border in borders:
        difference = "" if border.difference is None else f"{border.difference:.3f}"
        disagreeing = "" if border.disagreeing is None else f"{border.disagreeing:.1%}"
        seam = "" if border.seam is None else f"{border.seam:.2f}"
        shown.add_row(*border.scenes, f"{border.pixels:,}", difference, disagreeing, seam)
    return shown


def _pair(one: int, other: int) -> tuple[int, int]:
    return min(one, other), max(one, other)


def _neighbours(mosaic: np.ndarray, core: tuple[int, int]) -> Iterator[tuple[Any, Any]]:
    """Slices of the pixels with a right neighbour and of these; then the same downwards."""
    height, width = min(core[0], mosaic.shape[0]), min(core[1], mosaic.shape[1] - 1)
    yield np.s_[:height, :width], np.s_[:height, 1 : width + 1]
    height, width = min(core[0], mosaic.shape[0] - 1), min(core[1], mosaic.shape[1])
    yield np.s_[:height, :width], np.s_[1 : height + 1, :width]


def _steps(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    steps = np.abs(here.astype(np.int16) - there)
    return np.where((here == NO_DATA) | (there == NO_DATA), np.int16(-1), steps)


def _summed(steps: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.array([np.count_nonzero(where), steps[where].sum(dtype=np.int64)])
