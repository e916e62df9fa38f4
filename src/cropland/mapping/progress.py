"""What a person sees while a scene is mapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["progress_bar"]


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
