"""What long work shows and measures: one progress bar, one clock of stages, and one way to prepare what comes next."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

__all__ = ["Bar", "megapixels", "prefetch", "progress_bar", "seconds_by_stage", "timed", "timed_each"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Bar:
    """A progress bar with a rate and the time left; call it with the amount that is done."""

    _progress: Progress
    _task: TaskID
    _rate: Callable[[float], str]
    _context: Context  # of who made the bar: it is moved on by other threads too, which know no language
    _in_lines: bool

    def __call__(self, amount: float = 1, *, name: str | None = None) -> None:
        task = self._progress.tasks[0]
        before = int(task.percentage)
        rate = self._context.copy().run(self._rate, task.speed) if task.speed else ""
        self._progress.update(self._task, advance=amount, rate=rate, description=name)
        if self._in_lines and int(task.percentage) > before:
            print(f"{int(task.percentage)}%", file=sys.stderr, flush=True)

    def tell(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        print(sentence, flush=True)


@contextmanager
def progress_bar(
    name: str = "",
    *,
    total: float,
    rate: Callable[[float], str],
    done: float = 0,
    counted: bool = False,
    silent: bool = False,
) -> Iterator[Bar]:
    """A bar on stderr, where that is a terminal; lines as in 42%, where `CROPLAND_PROGRESS` is `lines`, for programs.

    rate: what to say of an amount per second. done: by an earlier run. counted: also show how many of how many. silent:
    show nothing, as all but one of several processes do.
    """
    count = [TextColumn("{task.completed:.0f}/{task.total:.0f}")] if counted else []
    columns = (TextColumn("{task.description}"), BarColumn(), *count, TextColumn("{task.fields[rate]}"))
    console = Console(stderr=True)
    in_lines = not silent and os.environ.get("CROPLAND_PROGRESS") == "lines"
    hidden = silent or in_lines or not console.is_terminal
    shown = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden)
    with shown as progress:
        task = progress.add_task(name, total=total, completed=int(done), rate="")
        yield Bar(progress, task, rate, copy_context(), in_lines)


def megapixels(speed: float) -> str:
    """The rate of a bar over pixels."""
    return f"{speed / 1e6:.2f} Mpx/s"


_seconds: defaultdict[str, float] = defaultdict(float)
_lock = threading.Lock()
_inner = threading.local()  # seconds that stages within the present one took, which are not its own


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """What runs inside counts for that stage, in whatever thread, but for stages within it."""
    begun, around = time.perf_counter(), getattr(_inner, "seconds", 0.0)
    _inner.seconds = 0.0
    try:
        yield
    finally:
        spent = time.perf_counter() - begun
        with _lock:
            _seconds[stage] += spent - _inner.seconds
        _inner.seconds = around + spent


def timed_each(stage: str, items: Iterable[Item]) -> Iterator[Item]:
    """The items; the time that it takes to get them counts for that stage."""
    iterator = iter(items)
    while True:
        with timed(stage):
            item = next(iterator, None)
        if item is None:
            return
        yield item


def seconds_by_stage() -> dict[str, float]:
    """The seconds of each stage since this was asked the last time."""
    with _lock:
        seconds = {name: round(spent, 3) for name, spent in _seconds.items()}
        _seconds.clear()
    return seconds


def prefetch(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int = 1, ahead: int | None = None
) -> Iterator[Result]:
    """`map`, in order, in threads that are some items ahead: as many as there are threads, if not given.

    For work that leaves Python's lock: reading, decoding, labelling. Neither items nor results pile up.
    """
    ahead = threads if ahead is None else ahead
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
