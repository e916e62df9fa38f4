"""Units computed by a Dask cluster: workers read for themselves and send bytes, this process alone writes.

A task is a run of units, of several fields' height, so that little is read twice. A worker that dies costs what it was
computing. That all workers compute alike, to the last bit, is found out before the first task and again in each.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker, LocalCluster, as_completed, get_worker
from distributed.comm import CommClosedError

from cropland import __version__
from cropland.engines import Engine, Precision, choose_engine, open_engine
from cropland.errors import CroplandError, IncompleteError, InputError, ModelError, SceneError
from cropland.geo.reading import ImageFile
from cropland.language import Message
from cropland.mapping.compute import UnitResult, Work, compute
from cropland.mapping.units import Cut
from cropland.model import ModelFile, default_model

__all__ = ["Dask", "connected"]


SECONDS = 20  # to wait for a scheduler and its first worker
FIELDS = 8  # heights of the field in a task at most: a quarter more rows are computed than in one go
AHEAD = 2  # tasks under way for each worker, so that none waits; what they found waits in memory


@dataclass(frozen=True)
class WorkerEngine:
    """What a worker says of its engine."""

    about: Mapping[str, Any]
    no_slide: Message | None
    bytes_per_column: int


@dataclass(frozen=True)
class EngineSpec:
    """What a worker needs to open the engine. model: None for the one that ships, wherever that lies on the worker.

    digest: of the model's file. threads: all if None.
    """

    model: Path | None
    digest: str
    engine: str
    threads: int | None
    precision: Precision
    why: Message = field(compare=False)  # this engine

    @staticmethod
    def of(
        model: ModelFile, *, engine: str | None = None, threads: int | None = None, precision: Precision = "fastest"
    ) -> EngineSpec:
        """Of a model that was loaded on this machine. Raises `InputError` as `choose_engine`."""
        assert model.path is not None, "a model that was loaded has a path"
        path = None if model.path == default_model() else model.path.absolute()
        choice = choose_engine(engine)
        return EngineSpec(path, model.digest, choice.name, threads, precision, choice.reason)

    def open(self) -> Engine:
        """The engine, which stays open in this process. Raises `ModelError` where the model's file is another."""
        return _open(self)


@lru_cache(maxsize=1)
def _open(spec: EngineSpec) -> Engine:
    # Whoever begins the map has loaded the model, and with it has trusted the code that it names.
    model = ModelFile.load(spec.model or default_model(), trust=True)
    if model.digest != spec.digest:
        raise ModelError("{path} is a different model on this machine; copy the file again", path=model.path)
    return open_engine(spec.engine, model, threads=spec.threads, precision=spec.precision)


@contextmanager
def connected(address: str | None, spec: EngineSpec) -> Iterator[Dask]:
    """A cluster on this machine, or the one whose scheduler has that address.

    Raises `InputError` for a scheduler or workers that are not there, and for workers that do not compute alike.
    """
    with _client(address, spec) as client:
        yield Dask(client, spec, _common(_asked(client, _describe, spec)), spec.why)


@dataclass(frozen=True)
class Dask:
    """The workers of a cluster; `engine`: what they all say of theirs."""

    client: Client
    spec: EngineSpec
    engine: WorkerEngine
    why: Message | None = None

    def prepare(self, cut: Cut) -> None:
        """Nothing: each worker does as it begins."""

    def __call__(self, work: Work, cut: Cut, wanted: Sequence[int]) -> Iterator[UnitResult]:
        """The units, as they come. Raises `IncompleteError` where the cluster is lost on the way."""
        _check_seen(self.client, work)
        workers = len(self.client.scheduler_info(n_workers=-1)["workers"])
        runs = iter(cut.runs(wanted, most=_most(work, cut, wanted, workers)))
        try:
            under_way = as_completed([self._submit(work, cut, run) for run in islice(runs, AHEAD * workers)])
            for future in under_way:
                yield from future.result()
                for run in islice(runs, 1):
                    under_way.add(self._submit(work, cut, run))
        except (CancelledError, KilledWorker, CommClosedError, OSError, TimeoutError) as error:
            raise IncompleteError(
                "the connection to the cluster was lost ({error}); what is done is kept, and the same command resumes",
                error=type(error).__name__,
            ) from error

    def _submit(self, work: Work, cut: Cut, run: Sequence[int]) -> Future:
        part = replace(cut, units=tuple(cut.units[number] for number in run))
        return self.client.submit(_task, self.spec, self.engine.about, work, part, run, pure=False)


@contextmanager
def _client(address: str | None, spec: EngineSpec) -> Iterator[Client]:
    if address is None:
        many = max(1, (os.cpu_count() or 1) // (spec.threads or 1))
        with LocalCluster(many, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(address, timeout=SECONDS)
        client.wait_for_workers(1, timeout=SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            "no Dask scheduler with workers answers at {address} ({error}); start one with `dask scheduler` and "
            "`dask worker`",
            address=address,
            error=type(error).__name__,
        ) from error
    with client:
        yield client


def _asked(client: Client, question: Any, *given: Any) -> dict[str, Any]:
    """What each worker answers. Raises `InputError` that names the first that cannot."""
    answers: dict[str, Any] = client.run(question, *given, on_error="return")
    for worker, answer in answers.items():
        if isinstance(answer, Exception):
            raise InputError(
                "the worker {worker} cannot take part: {error}; it needs cropland {version} and the same files",
                worker=worker,
                error=answer,
                version=__version__,
            ) from answer
    return answers


def _common(answers: Mapping[str, WorkerEngine]) -> WorkerEngine:
    first = next(iter(answers.values()))
    for worker, answer in answers.items():
        _check_alike(worker, answer.about, first.about)
    return first


def _check_alike(worker: str, about: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    apart = [f"{key}: {about.get(key)}, {expected[key]}" for key in expected if about.get(key) != expected[key]]
    if apart:
        raise InputError(
            "the results of the worker {worker} differ from the others' ({apart}), so the map would differ; "
            "leave it out",
            worker=worker,
            apart="; ".join(apart),
        )


def _check_seen(client: Client, work: Work) -> None:
    for worker, (host, unseen) in _asked(client, _unseen, work.scene.files).items():
        if unseen:
            raise SceneError(
                "the worker {worker} on {host} does not see {path}; put scenes where every machine finds them "
                "under one path",
                worker=worker,
                host=host,
                path=unseen[0],
            )


def _most(work: Work, cut: Cut, wanted: Sequence[int], workers: int) -> int:
    """Units of a task: as many as give every worker some, and no more than `FIELDS` heights of the field."""
    fair = -(-len(wanted) // workers)
    return max(1, min(fair, FIELDS * (work.radius or 1) // cut.units[0].core.height + 1))


def _describe(spec: EngineSpec) -> WorkerEngine:
    engine = spec.open()
    column = 0 if engine.no_slide else engine.bytes_per_column
    return WorkerEngine(engine.about, engine.no_slide, column)


def _unseen(files: Sequence[ImageFile]) -> tuple[str, list[str]]:
    """On a worker: its host, and which files it does not find; an address is asked when it is read."""
    return socket.gethostname(), [str(path) for path in files if isinstance(path, Path) and not path.exists()]


def _task(spec: EngineSpec, about: Mapping[str, Any], work: Work, cut: Cut, run: Sequence[int]) -> list[UnitResult]:
    """On a worker: the units of `cut`, which are numbered `run` in the whole."""
    engine, worker = spec.open(), get_worker().address
    _check_alike(worker, engine.about, about)
    try:
        found = list(compute(work, cut, range(len(run)), engine))
    except CroplandError as error:
        values = {**error.values, "worker": worker, "error": error}
        raise type(error)("{worker}: {error}", **values) from None
    return [done.packed(number) for done, number in zip(found, run, strict=True)]
