"""What a person sees while training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cropland.language import _


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
def progress_bar() -> Iterator[Bar]:
    """A bar for the time of training."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns) as progress:
        yield Bar(progress, progress.add_task(_("starting"), total=None, rate=""))
