"""What separable layers gain by their shape, by their settings, and by what runs them, one factor at a time."""

from __future__ import annotations

import math
import os
import shutil
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cropland.engines import Precision
from cropland.lab.charts import Bars, Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import QUICK, Budget, Number, Run, Times, exactly, quartiles, quotient, ratio
from cropland.lab.stacks import BLOCKS, Case, bars, both, forward, gain, image_of, in_turn, stack
from cropland.training.memory import SHARE, free_bytes

__all__ = ["separable_runtimes", "separable_settings", "separable_sweeps"]

LAYERS = 6
PRECISIONS: dict[str, Precision] = {"OpenVINO, float32": "f32", "OpenVINO, its fastest type": "fastest"}


def separable_sweeps(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Channels, size, batch, depth."""
    middle = Case(budget.channels, budget.size)
    yield _channels(device, budget, [replace(middle, channels=n) for n in budget.sweep((16, 32, 64, 128, 256, 512))])
    yield _size(device, budget, [replace(middle, size=n) for n in budget.sweep((16, 32, 64, 128, 256, 512))])
    yield _batch(device, budget, [replace(middle, batch=n) for n in budget.sweep((1, 2, 4, 8, 16))])
    yield from _depth(device, budget, middle)


def _channels(device: torch.device, budget: Budget, cases: Sequence[Case]) -> Finding:
    times, notes = _sweep(cases, device, budget.rounds)
    gains, at, promised = [gain(found) for found in times], [case.channels for case in cases], cases[-1].promised
    numbers = {"narrow": gains[0], "wide": gains[-1], "promised": exactly(promised)}
    numbers |= {"least": exactly(at[0]), "most": exactly(at[-1]), "share": gains[-1].times(1 / promised)}
    curves = {"measured": gains, "promised by multiply-adds": [exactly(case.promised) for case in cases]}
    spent = {name: [found[name].ms for found in times] for name in BLOCKS}
    clock = Lines("The time itself", "channels", "milliseconds", at, spent, log_x=True, log_y=True)
    return Finding("separable_sweeps.channels", numbers, [_lines("channels", at, curves), clock], notes)


def _size(device: torch.device, budget: Budget, cases: Sequence[Case]) -> Finding:
    times, notes = _sweep(cases, device, budget.rounds)
    gains, at = [gain(found) for found in times], [case.size for case in cases]
    most, least = (choose(range(len(at)), key=lambda n: gains[n].value) for choose in (max, min))
    numbers = {"most": gains[most], "least": gains[least], "spread": quotient(gains[most], gains[least])}
    numbers |= {"most_at": exactly(at[most]), "least_at": exactly(at[least])}
    chart = _lines("image edge in pixels", at, {"measured": gains}, cases[0].promised)
    return Finding("separable_sweeps.size", numbers, [chart], notes)


def _batch(device: torch.device, budget: Budget, cases: Sequence[Case]) -> Finding:
    times, notes = _sweep(cases, device, budget.rounds)
    gains, at = [gain(found) for found in times], [case.batch for case in cases]
    numbers = {"one": gains[0], "many": gains[-1], "batch": exactly(at[-1]), "grown": quotient(gains[-1], gains[0])}
    chart = _lines("batch size", at, {"measured": gains}, cases[0].promised)
    return Finding("separable_sweeps.batch", numbers, [chart], notes)


def _depth(device: torch.device, budget: Budget, middle: Case) -> Iterator[Finding]:
    at = budget.sweep((1, 2, 3, 4, 6))
    times = [_kept_and_doubled(replace(middle, layers=layers), device, budget.rounds) for layers in at]
    kept, doubled = [gain(found) for found in times], [ratio(t["ordinary"], t["doubled"]) for t in times]
    numbers = {"one": kept[0], "six": kept[-1], "grown": quotient(kept[-1], kept[0])}
    chart = _lines("layers in a row", at, {"measured": kept}, middle.promised)
    yield Finding("separable_sweeps.layers", numbers, [chart])
    numbers = {"kept": kept[-1], "doubled": doubled[-1], "promised": exactly(middle.promised / 2)}
    curves = {"depth kept": kept, "twice as many separable layers": doubled}
    chart = _lines("ordinary layers in a row", at, curves, middle.promised / 2)
    yield Finding("separable_sweeps.depth", numbers, [chart])


def _kept_and_doubled(case: Case, device: torch.device, rounds: int) -> dict[str, Times]:
    doubled = forward(BLOCKS["separable"], replace(case, layers=2 * case.layers), device)
    return in_turn({"": {**both(case, device), "doubled": doubled}}, device, rounds)[""]


def _sweep(cases: Sequence[Case], device: torch.device, rounds: int) -> tuple[list[dict[str, Times]], list[str]]:
    """Times of both layers in every case, and notes on images that had to shrink."""
    free = SHARE * free_bytes(device)
    sizes = [(case.size, case.fitting(free).size) for case in cases]
    notes = [f"image reduced from {size} to {fits} pixels: memory" for size, fits in sizes if fits < size]
    return [in_turn({"": both(case.fitting(free), device)}, device, rounds)[""] for case in cases], notes


def _lines(x: str, at: Sequence[int], curves: Mapping[str, Sequence[Number]], promised: float | None = None) -> Lines:
    levels = {"equally fast": 1.0} | ({} if promised is None else {"promised by multiply-adds": promised})
    return Lines("What separable layers gain", x, "times as fast as ordinary layers", at, curves, levels, log_x=True)


def separable_settings(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Each varied alone, about one layer of the middle."""
    middle = Case(budget.channels, budget.size)
    yield _layout(middle, device, budget.rounds)
    yield _types(middle, device, budget.rounds)
    yield _backward(middle, device, budget.rounds)
    yield _devices(middle, budget.rounds)


def _layout(case: Case, device: torch.device, rounds: int) -> Finding:
    first = replace(case, layout=torch.contiguous_format)
    times = in_turn({"channels last": both(case, device), "channels first": both(first, device)}, device, rounds)
    numbers = {"last": gain(times["channels last"]), "first": gain(times["channels first"])}
    numbers |= faster(times["channels first"], times["channels last"])
    return Finding("separable_settings.layout", numbers, bars(times, case.promised))


def _types(case: Case, device: torch.device, rounds: int) -> Finding:
    types = (torch.float32, torch.bfloat16, *([torch.float16] if device.type == "cuda" else []))
    names = {str(dtype).removeprefix("torch."): dtype for dtype in types}
    times = in_turn({name: both(replace(case, dtype=it), device) for name, it in names.items()}, device, rounds)
    single, half = gain(times["float32"]), gain(times["bfloat16"])
    numbers = {"single": single, "half": half, "kept": quotient(half, single)}
    numbers |= faster(times["float32"], times["bfloat16"])
    return Finding("separable_settings.types", numbers, bars(times, case.promised))


def faster(before: dict[str, Times], after: dict[str, Times]) -> dict[str, Number]:
    """How many times as fast each layer becomes."""
    return {block: ratio(before[block], after[block]) for block in BLOCKS}


def _backward(case: Case, device: torch.device, rounds: int) -> Finding:
    slopes = {name: there_and_back(block, case, device) for name, block in BLOCKS.items()}
    times = in_turn({"forward": both(case, device), "forward and backward": slopes}, device, rounds)
    alone, training = gain(times["forward"]), gain(times["forward and backward"])
    numbers = {"forward": alone, "training": training, "kept": quotient(training, alone)}
    return Finding("separable_settings.backward", numbers, bars(times, case.promised))


def there_and_back(block: type[nn.Module], case: Case, device: torch.device) -> Run:
    """Forward in training mode, then back to all of the gradients, that of the image too."""
    network, image = stack(block, case, device).train(), image_of(case, device).requires_grad_()
    wanted, slope = [image, *network.parameters()], torch.randn_like(image)
    return torch.enable_grad()(lambda: torch.autograd.grad(network(image), wanted, slope))


def _devices(case: Case, rounds: int) -> Finding:
    if not torch.cuda.is_available():
        return Finding("separable_settings.devices", missing="this machine has no CUDA device")
    places = {"CPU": torch.device("cpu"), "GPU": torch.device("cuda")}
    times = {name: in_turn({name: both(case, place)}, place, rounds)[name] for name, place in places.items()}
    numbers = {"cpu": gain(times["CPU"]), "gpu": gain(times["GPU"])}
    numbers["more"] = quotient(numbers["gpu"], numbers["cpu"])
    return Finding("separable_settings.devices", numbers, bars(times, case.promised))


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
