"""What a separable layer gains by its settings: memory order, number type, forward alone or backward too, device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, Run, Times, ratio
from cropland.lab.stacks import BLOCKS, Case, bars, both, gain, image_of, in_turn, quotient, stack

__all__ = ["separable_settings"]


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
