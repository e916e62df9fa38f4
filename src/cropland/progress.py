"""What a person sees while a scene is mapped."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cropland.language import _

__all__ = ["each", "in_threads", "progress_bar", "stage", "taken"]


@contextmanager
def progress_bar(name: str, *, total: int) -> Iterator[Callable[[int], None]]:
    """A bar with megapixels per second and the time left; yields the function that moves it on by some pixels."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=total, rate="")

        def advance(pixels: int) -> None:
            speed = progress.tasks[0].speed
            progress.update(task, advance=pixels, rate=f"{speed / 1e6:.2f} Mpx/s" if speed else "")

        yield advance


T = TypeVar("T")
_seconds: defaultdict[str, float] = defaultdict(float)
_lock = threading.Lock()
_inner = threading.local()  # seconds that stages within the present one took, which are not its own


@contextmanager
def stage(name: str) -> Iterator[None]:
    """What runs inside counts for that stage, but for stages within it."""
    begun, around = time.perf_counter(), getattr(_inner, "seconds", 0.0)
    _inner.seconds = 0.0
    try:
        yield
    finally:
        spent = time.perf_counter() - begun
        with _lock:
            _seconds[name] += spent - _inner.seconds
        _inner.seconds = around + spent


def each(name: str, items: Iterable[T]) -> Iterator[T]:
    """The items; what it takes to get them counts for that stage."""
    iterator = iter(items)
    while True:
        with stage(name):
            item = next(iterator, None)
        if item is None:
            return
        yield item


def taken() -> dict[str, float]:
    """The seconds since this was asked the last time."""
    with _lock:
        seconds = {name: round(spent, 3) for name, spent in _seconds.items()}
        _seconds.clear()
    return seconds


THREADS = 2
Each = TypeVar("Each")
Out = TypeVar("Out")


def in_threads(work: Callable[[Each], Out], over: Iterable[Each]) -> Iterator[Out]:
    """`map`, in order, a few ahead of what is asked for."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[Future[Out]] = deque()
        for each in over:
            waiting.append(pool.submit(work, each))
            if len(waiting) > THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True)
class Bar:
    """A progress bar over all epochs, with chips per second and the time left."""

    progress: Progress
    task: TaskID

    def show(self, *, epoch: int, epochs: int, step: int, steps: int, chips: int, loss: float) -> None:
        """Move to a step of an epoch."""
        task = self.progress.tasks[0]
        self.progress.update(
            self.task,
            total=epochs * steps,
            completed=epoch * steps + step,
            description=_("epoch {epoch}/{epochs} loss {loss:.3f}", epoch=epoch + 1, epochs=epochs, loss=loss),
            rate=_("{rate:.1f} chips/s", rate=(task.speed or 0) * chips),
        )

    def tell(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        self.progress.console.print(sentence, soft_wrap=True)


@contextmanager
def training_bar() -> Iterator[Bar]:
    """A bar for the time of training."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns) as progress:
        yield Bar(progress, progress.add_task(_("starting"), total=None, rate=""))
