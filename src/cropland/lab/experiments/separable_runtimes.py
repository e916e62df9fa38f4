"""What six separable layers gain by what runs them: PyTorch as it is, compiled, or OpenVINO."""

from __future__ import annotations

import math
import os
import shutil
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cropland.engines import Precision
from cropland.lab.charts import Bars
from cropland.lab.claim import Finding
from cropland.lab.measure import QUICK, Budget, Number, Run, Times, exactly, quartiles, ratio
from cropland.lab.stacks import BLOCKS, Case, bars, both, gain, image_of, in_turn, stack

__all__ = ["separable_runtimes"]

LAYERS = 6
PRECISIONS: dict[str, Precision] = {"OpenVINO, float32": "f32", "OpenVINO, its fastest type": "fastest"}


def separable_runtimes(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Compiled, what compiling costs, OpenVINO."""
    case = Case(budget.channels, budget.size, layers=LAYERS)
    yield from _compiled(case, device, budget.rounds)
    yield _openvino(case, device, budget.rounds)


def _compiled(case: Case, device: torch.device, rounds: int) -> Iterator[Finding]:
    keys = ("separable_runtimes.compiled", "separable_runtimes.paid")
    if lacking := _why_not(device, rounds):
        yield from (Finding(key, missing=lacking) for key in keys)
        return
    start = first_call(torch.compile(nn.ReLU()), image_of(Case(1, 8), device))
    runs, firsts = {}, {}
    for name, block in BLOCKS.items():
        network, image = torch.compile(stack(block, case, device), dynamic=False), image_of(case, device)
        firsts[name] = exactly(first_call(network, image))
        runs[name] = torch.no_grad()(lambda network=network, image=image: network(image))
    times = in_turn({"eager": both(case, device), "torch.compile": runs}, device, rounds)
    eager, compiled = times["eager"], times["torch.compile"]
    yield Finding(keys[0], _numbers(eager, compiled, case), bars(times, case.promised))
    calls = paid_back(firsts["separable"].value, eager["separable"], compiled["separable"])
    numbers = {"start": exactly(start), "seconds": firsts["separable"], "megapixels": calls.times(case.size**2 / 1e6)}
    spent = {"the compiler itself, once": exactly(start), **firsts}
    yield Finding(keys[1], numbers, [Bars("What the first call takes", "seconds", spent)])


def _numbers(before: dict[str, Times], after: dict[str, Times], case: Case) -> dict[str, Number]:
    """What separable layers gain before and after, the share of what is promised, and what each kind gains by it."""
    numbers = {"before": gain(before), "after": gain(after), "promised": exactly(case.promised)}
    numbers["share"] = numbers["after"].times(1 / case.promised)
    return numbers | {block: ratio(before[block], after[block]) for block in BLOCKS}


def _why_not(device: torch.device, rounds: int) -> str:
    """Why nothing can be compiled here, or nothing."""
    if rounds < QUICK.rounds:
        return "compiling takes longer than this budget allows"
    compiler = any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++", "cl")))
    headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    kernels = device.type != "cuda" or find_spec("triton") is not None
    return "" if compiler and headers and kernels else "torch.compile finds no compiler on this machine"


@torch.no_grad()
def first_call(compiled: Callable[[Tensor], object], image: Tensor) -> float:
    """Seconds of the call that compiles, nothing taken from what an earlier run has kept."""
    begun = time.perf_counter()
    fresh = torch.compiler.config.patch(force_disable_caches=True)  # type: ignore[attr-defined]  # put there at import
    with fresh, warnings.catch_warnings(action="ignore"):
        compiled(image)
    return time.perf_counter() - begun


def paid_back(seconds: float, slow: Times, fast: Times) -> Number:
    """Calls after which `seconds` spent beforehand are saved; infinite where a call saves nothing."""
    saved = quartiles(a - b for a, b in zip(slow.samples, fast.samples, strict=True))
    return Number(*(seconds / each if each > 0 else math.inf for each in (saved.value, saved.high, saved.low)))


def _openvino(case: Case, device: torch.device, rounds: int) -> Finding:
    if device.type != "cpu":
        return Finding("separable_runtimes.openvino", missing="OpenVINO is measured where the lab runs on the CPU")
    image = image_of(case, device)
    graphs = {kind: converted(stack(block, case, device), image) for kind, block in BLOCKS.items()}
    ways = {"eager": both(case, device)}
    ways |= {name: {kind: opened(its, image, p) for kind, its in graphs.items()} for name, p in PRECISIONS.items()}
    times = in_turn(ways, device, rounds)
    single, fastest = (times[name] for name in PRECISIONS)
    numbers = _numbers(times["eager"], single, case) | {"fastest": gain(fastest)}
    return Finding("separable_runtimes.openvino", numbers, bars(times, case.promised))


def converted(network: nn.Module, image: Tensor) -> Any:
    """The network as a graph of OpenVINO."""
    import openvino  # after cropland.engines, which keeps the converter off the network

    with warnings.catch_warnings(action="ignore"):
        return openvino.convert_model(network, example_input=image)


def opened(graph: Any, image: Tensor, precision: Precision) -> Run:
    """The graph on an image that is read where it lies, with outputs that stay where they are written, as in torch."""
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": str(torch.get_num_threads())}
    settings |= {} if precision == "fastest" else {"INFERENCE_PRECISION_HINT": precision}
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    array = image.contiguous().numpy()  # kept by the function below: OpenVINO does not keep what it shares
    return lambda: request.infer([array], share_inputs=True, share_outputs=True)
