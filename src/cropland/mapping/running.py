"""Which model runs by which engine; opened once in a process, here or on another machine."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from cropland.engines import Engine, Precision, choose_engine
from cropland.errors import ModelError
from cropland.language import Said, _
from cropland.model import Model, default_model

__all__ = ["Running"]


@dataclass(frozen=True)
class Running:
    """What it takes to open the engine. model: None for the one that ships with cropland, wherever that lies.

    digest: of the model's file. threads: all if None.
    """

    model: Path | None
    digest: str
    trust: bool
    engine: str
    threads: int | None
    precision: Precision
    why: Said = field(compare=False)  # this engine

    @staticmethod
    def of(
        model: Path | None,
        *,
        trust: bool = False,
        engine: str | None = None,
        threads: int | None = None,
        precision: Precision = "fastest",
    ) -> Running:
        """Of a model on this machine. Raises `ModelError` as `Model.load`, `InputError` as `choose_engine`."""
        trained = Model.load(model or default_model(), trust=trust)
        path = None if model is None else model.absolute()
        choice = choose_engine(engine)
        return Running(path, trained.digest, trust, choice.name, threads, precision, choice.reason)

    def load(self) -> Model:
        """The model. Raises `ModelError` where its file is not the same."""
        model = Model.load(self.model or default_model(), trust=self.trust)
        if model.digest != self.digest:
            raise ModelError(_("{path} is another model here; copy the file anew", path=model.path))
        return model

    def open(self) -> Engine:
        """The engine, which stays open."""
        return _open(self)


@lru_cache(maxsize=1)
def _open(running: Running) -> Engine:
    opened: Callable[..., Engine] = importlib.import_module(f"cropland.engines.{running.engine}").open_engine
    return opened(running.load(), threads=running.threads, precision=running.precision)
