"""The probability of a whole grid, unit by unit: read ahead, compute, write behind, note in the journal."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from cropland.engines import Described, Engine
from cropland.errors import ReadError
from cropland.language import Said
from cropland.mapping.cut import Cut
from cropland.mapping.journal import Journal
from cropland.mapping.plane import Plane, sync
from cropland.mapping.sliding import compute_swaths
from cropland.mapping.tiling import compute_tiles
from cropland.mapping.work import Done, Work
from cropland.progress import stage

__all__ = ["Executor", "Serial", "compute", "fill"]

WAITING = 2  # units that may wait to be written
AT_ONCE = 1 << 21  # pixels that go to the disk together: to wait for it costs some milliseconds


class Executor(Protocol):
    """What computes units, here or elsewhere, in any order."""

    @property
    def engine(self) -> Described:
        """By which it computes."""

    @property
    def why(self) -> Said | None:
        """Why by this one, if that is known."""

    def prepare(self, cut: Cut) -> None:
        """Begin, beside what else there is to do, what must be there before units of this cut are computed."""

    def __call__(self, work: Work, cut: Cut, wanted: Sequence[int]) -> Iterator[Done]: ...


@dataclass(frozen=True)
class Serial:
    """One run after the other, in this process."""

    engine: Engine
    why: Said | None = None  # it is this engine

    def prepare(self, cut: Cut) -> None:
        if cut.way == "slide":
            self.engine.prepare(cut.units[0].padded.width)

    def __call__(self, work: Work, cut: Cut, wanted: Sequence[int]) -> Iterator[Done]:
        for run in cut.runs(wanted):
            yield from compute(work, cut, run, self.engine)


def compute(work: Work, cut: Cut, run: Sequence[int], engine: Engine) -> Iterator[Done]:
    """The units of a run."""
    return {"slide": compute_swaths, "tiles": compute_tiles}[cut.way](work, cut, run, engine)


def fill(
    plane: Plane,
    name: str,
    work: Work,
    cut: Cut,
    *,
    executor: Executor,
    journal: Journal,
    advance: Callable[[int], None],
) -> list[ReadError]:
    """Write what is missing of a plane, `name` in the journal; why units could not be read, if any could not."""
    wanted = journal.missing(name, cut, plane)
    advance(cut.shape[0] * cut.shape[1] - sum(_pixels(cut, number) for number in wanted))
    keeper, failed = _Keeper(plane, name, cut, journal), []
    with ThreadPoolExecutor(1) as writer:
        waiting: deque[Future[None]] = deque()
        for done in executor(work, cut, wanted):
            if done.error:
                failed.append(done.error)
                continue
            waiting.append(writer.submit(keeper.keep, done))
            if len(waiting) > WAITING:
                _wait(waiting)
            advance(_pixels(cut, done.number))
        while waiting:
            _wait(waiting)
    keeper.commit()
    return failed


def _wait(waiting: deque[Future[None]]) -> None:
    with stage("waiting for writing"):
        waiting.popleft().result()


def _pixels(cut: Cut, number: int) -> int:
    return cut.units[number].core.height * cut.units[number].core.width


@dataclass
class _Keeper:
    """Writes units; several small ones go into the journal together."""

    plane: Plane
    name: str
    cut: Cut
    journal: Journal
    _sums: dict[str, int] = field(default_factory=dict)
    _size: int = 0

    def keep(self, done: Done) -> None:
        with stage("writing"):
            values = done.levels()
            self.plane.write(self.cut.units[done.number].core, values)
            self._sums[f"{self.name} {done.number}"] = zlib.crc32(values.data)
            self._size += values.size
            if self._size >= AT_ONCE:
                self.commit()

    def commit(self) -> None:
        if self._sums:
            sync(self.plane.path)
            self.journal.note(self._sums)
        self._sums, self._size = {}, 0
