"""OpenVINO: the default on CPUs. A network is converted once, through torch; from the cache it runs without torch.

One compiled network serves every height and width: on two cores it was within 5 % of one compiled per shape.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import openvino
from jaxtyping import Float

from cropland import __version__
from cropland.engines import Engine, NoSlideError, Precision, Trained, cache_folder, why_not
from cropland.errors import ModelError, first_line
from cropland.files import replacing_folder
from cropland.language import Message
from cropland.notebooks.names import is_foreign
from cropland.streaming.openvino import Converted, OpenVINOSlide
from cropland.streaming.slide import Slide, slide_down

if TYPE_CHECKING:
    from torch import nn

__all__ = ["open_engine"]

TRACED = (129, 135)  # odd, so that no size passes for a multiple of something
SMALLEST = 64  # below, maps inside the network may be smaller than a pooling window, which OpenVINO refuses
PROBES = ((64, 64), (95, 70))
SINGLE = {"INFERENCE_PRECISION_HINT": "f32"}
MOST = 1e-3  # of 1 + the largest logit, between OpenVINO and torch in single precision
T = TypeVar("T")


def open_engine(model: Trained, *, threads: int | None = None, precision: Precision = "fastest") -> Engine:
    """An engine on the CPU with `threads` threads (all of them if not given).

    `fastest` is bfloat16 where the CPU computes it, else float32. Nothing is compiled before it is needed: a scene is
    slid down or tiled. The first image raises `ModelError` for a network that OpenVINO does not compute as torch does.
    """
    core = openvino.Core()
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    if precision != "fastest":
        settings |= SINGLE
    return _OpenVINOEngine(core, model, settings, threads)


class _OpenVINOEngine:
    def __init__(self, core: openvino.Core, model: Trained, settings: dict[str, Any], threads: int | None) -> None:
        self._core, self._model, self._settings, self._threads = core, model, settings, threads
        self._prepared: dict[int, Slide] = {}  # one at most, by width

    def __call__(
        self, batch: Float[np.ndarray, "batch band height width"], /
    ) -> Float[np.ndarray, "batch output height width"]:
        if min(batch.shape[2:]) < SMALLEST:
            return self._torch(batch)
        logits: np.ndarray = self._compiled(np.ascontiguousarray(batch, np.float32))[0]
        return logits

    def prepare(self, width: int, /) -> None:
        self._prepared = {width: self.slide(width)}

    def slide(self, width: int, /) -> Slide:
        if width in self._prepared:
            return self._prepared.pop(width)
        if width < SMALLEST:
            return self._torch.slide(width)
        bands = len(self._model.recipe.bands)
        return OpenVINOSlide(self._core, self._step, bands=bands, width=width, settings=self._settings)

    @cached_property
    def about(self) -> dict[str, Any]:
        features = sorted(self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        device, threads = str(self._core.get_property("CPU", "FULL_DEVICE_NAME")), self._threads or os.cpu_count()
        precision = self._settings.get("INFERENCE_PRECISION_HINT") or ("bf16" if "BF16" in features else "f32")
        versions = {"version": openvino.__version__.partition("-")[0], "cropland": __version__}
        about = {"engine": "openvino", **versions, "precision": precision}
        return {**about, "threads": threads, "device": device.strip(), "features": features}

    @cached_property
    def no_slide(self) -> Message | None:
        return why_not(lambda: self._step)

    @property
    def bytes_per_column(self) -> int:
        # Nearly all of it is of half the size in bfloat16.
        return self._step.schedule.bytes_per_column // (1 if self.about["precision"] == "f32" else 2)

    @cached_property
    def _compiled(self) -> openvino.CompiledModel:
        return self._core.compile_model(_graph(self._core, self._model), "CPU", self._settings)

    @cached_property
    def _step(self) -> Converted:
        return _step(self._core, self._model)

    @cached_property
    def _torch(self) -> Engine:
        from cropland.engines.torch import open_engine as open_torch

        return open_torch(self._model, threads=self._threads, precision="f32")


def _graph(core: openvino.Core, model: Trained) -> openvino.Model:
    return _cached(
        model,
        "network",
        read=lambda folder: core.read_model(folder / "network.xml"),
        make=lambda: _convert(core, model),
        save=lambda graph, folder: openvino.save_model(graph, folder / "network.xml", compress_to_fp16=False),
    )


def _step(core: openvino.Core, model: Trained) -> Converted:
    return _cached(
        model,
        "step",
        read=lambda folder: Converted.load(core, folder),
        make=lambda: _convert_step(core, model),
        save=lambda step, folder: step.save(folder),
    )


def _cached(
    model: Trained, what: str, *, read: Callable[[Path], T], make: Callable[[], T], save: Callable[[T, Path], None]
) -> T:
    # The sources of the user's own network may change under the same weights, so it is never cached.
    if is_foreign(model.recipe.network.name):
        return make()
    key = hashlib.sha256(f"{model.digest} {openvino.__version__} {__version__}".encode()).hexdigest()[:32]
    folder = cache_folder() / "openvino" / f"{key}-{what}"
    try:
        return read(folder)
    except (RuntimeError, OSError, ValueError, KeyError, TypeError):  # not there, or damaged
        made = make()
    with suppress(OSError, RuntimeError), replacing_folder(folder) as hidden:  # a cache that cannot be written
        save(made, hidden)
    return made


def _convert(core: openvino.Core, model: Trained) -> openvino.Model:
    import torch

    from cropland.streaming.program import NotExportedError, exported, largest_difference

    network, bands = model.network(), len(model.recipe.bands)
    shape = (1, bands, *TRACED)
    # Tracing is the faster way, but takes a branch that depends on the size as it falls; export sees it.
    ways: tuple[Callable[[], openvino.Model], ...] = (
        lambda: openvino.convert_model(network, example_input=torch.zeros(shape)),
        lambda: openvino.convert_model(exported(network, shape, any_size=(2, 3))),
    )
    for convert in ways:
        with suppress(NotExportedError), warnings.catch_warnings(action="ignore"):
            graph = convert()
            run = _run(core, graph)
            if all(largest_difference(run, network, (1, bands, *size), relative=True) <= MOST for size in PROBES):
                return graph
    name = model.recipe.network.name
    raise ModelError("OpenVINO and torch give different results for {name}; map it on a GPU", name=name)


def _run(core: openvino.Core, graph: openvino.Model) -> Callable[[np.ndarray], np.ndarray]:
    compiled = core.compile_model(graph, "CPU", SINGLE)
    return lambda image: compiled(image)[0]


def _convert_step(core: openvino.Core, model: Trained) -> Converted:
    from cropland.streaming.program import UnboundedError
    from cropland.streaming.step import plan

    network, bands = model.network(), len(model.recipe.bands)
    try:
        step = Converted.of(plan(network, bands), bands)
        if _slides_alike(core, network, step, bands):
            return step
    except UnboundedError as error:
        raise NoSlideError(error.args[0]) from error
    except RuntimeError as error:
        raise NoSlideError(Message("OpenVINO cannot compute its steps ({error})", error=first_line(error))) from error
    raise NoSlideError(Message("OpenVINO and torch give different results for a step"))


def _slides_alike(core: openvino.Core, network: nn.Module, step: Converted, bands: int) -> bool:
    """Whether a tall image gives the same band by band, with steps at both edges and inside."""
    from cropland.streaming.program import largest_difference

    width = PROBES[1][1]
    slide = OpenVINOSlide(core, step, bands=bands, width=width, settings=SINGLE)
    height = 2 * (step.schedule.delay + slide.band) + 1

    def run(image: np.ndarray) -> np.ndarray:
        parts = np.split(image, range(slide.band, height, slide.band), axis=2)
        return np.concatenate(list(slide_down(slide, parts, height)), axis=2)

    return largest_difference(run, network, (1, bands, height, width), relative=True) <= MOST
