"""OpenVINO: the default on CPUs. A network is converted once, through torch; from the cache it runs without torch.

One compiled network serves every height and width: on two cores it was within 5 % of one compiled per shape.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from jaxtyping import Float

from cropland import __version__
from cropland.code.names import is_foreign
from cropland.engines import Engine, Precision, Trained, cache_folder
from cropland.errors import ModelError
from cropland.language import _

if TYPE_CHECKING:
    from torch import nn

__all__ = ["open_engine"]

TRACED = (129, 135)  # odd, so that no size passes for a multiple of something
SMALLEST = 64  # below, maps inside the network may be smaller than a pooling window, which OpenVINO refuses
PROBES = ((64, 64), (95, 70))


def open_engine(model: Trained, *, threads: int | None = None, precision: Precision = "fastest") -> Engine:
    """An engine on the CPU with `threads` threads (all of them if not given).

    `fastest` is bfloat16 where the CPU computes it, else float32. Raises `ModelError` for a network that OpenVINO does
    not compute as torch does.
    """
    core = openvino.Core()
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    if precision != "fastest":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = core.compile_model(_graph(core, model), "CPU", settings)

    @cache
    def torch_engine() -> Engine:
        from cropland.engines.torch import open_engine as open_torch

        return open_torch(model, threads=threads, precision="f32")

    def run(batch: Float[np.ndarray, "batch band height width"]) -> Float[np.ndarray, "batch output height width"]:
        if min(batch.shape[2:]) < SMALLEST:
            return torch_engine()(batch)
        logits: np.ndarray = compiled(np.ascontiguousarray(batch, np.float32))[0]
        return logits

    return run


def _graph(core: openvino.Core, model: Trained) -> openvino.Model:
    # The sources of the user's own network may change under the same weights, so it is never cached.
    if is_foreign(model.recipe.network.name):
        return _convert(model)
    folder = cache_folder() / "openvino" / _key(model)
    try:
        return core.read_model(folder / "network.xml")
    except RuntimeError:  # not there, or damaged
        graph = _convert(model)
    _keep(graph, folder)
    return graph


def _key(model: Trained) -> str:
    return hashlib.sha256(f"{model.digest} {openvino.__version__} {__version__}".encode()).hexdigest()[:32]


def _keep(graph: openvino.Model, folder: Path) -> None:
    """Put a converted network into the cache in one step; a cache that cannot be written is done without."""
    hidden = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        openvino.save_model(graph, hidden / "network.xml", compress_to_fp16=False)
        shutil.rmtree(folder, ignore_errors=True)
        hidden.rename(folder)
    except (OSError, RuntimeError):
        shutil.rmtree(hidden, ignore_errors=True)


def _convert(model: Trained) -> openvino.Model:
    network, bands = model.network(), len(model.recipe.bands)
    # Tracing is the faster way, but takes a branch that depends on the size as it falls; export sees it.
    ways: tuple[Callable[[nn.Module, int], openvino.Model], ...] = (_traced, _exported)
    for convert in ways:
        graph = convert(network, bands)
        if all(_agree(network, graph, (1, bands, *size)) for size in PROBES):
            return graph
    name = model.recipe.network.name
    raise ModelError(_("OpenVINO computes {name} otherwise than torch does; map it on a GPU", name=name))


def _traced(network: nn.Module, bands: int) -> openvino.Model:
    import torch

    with warnings.catch_warnings(action="ignore"):
        return openvino.convert_model(network, example_input=torch.zeros(1, bands, *TRACED))


def _exported(network: nn.Module, bands: int) -> openvino.Model:
    import torch

    any_size = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings(action="ignore"):
        exported = torch.export.export(network, (torch.zeros(1, bands, *TRACED),), dynamic_shapes=(any_size,))
        return openvino.convert_model(exported)


def _agree(network: nn.Module, graph: openvino.Model, shape: tuple[int, ...]) -> bool:
    import torch

    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(image).numpy()
    core = openvino.Core()
    came = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image.numpy())[0]
    return came.shape == expected.shape and bool(np.abs(came - expected).max() <= 1e-3 * (1 + np.abs(expected).max()))
