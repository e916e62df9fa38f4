"""A network followed part by part while it runs: what each part computes, moves, keeps, and how long it takes."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cropland.lab.measure import Budget, synchronise
from cropland.lab.reach import last
from cropland.model import ModelFile, build_network, default_model
from cropland.recipe import Recipe, read_recipe
from cropland.show import NetworkPart, anatomy, recipe_of
from cropland.streaming.receptive_field import Field
from cropland.training.memory import place_network

FLOAT = 4  # bytes
LEAST = 64  # pixels: batch normalisation in training wants more than one value on a map of stride 32
REST = ""  # what lies between the parts: padding, joining, activations that are no module
Seconds = dict[str, float]
MULTIPLY = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
FOLDED = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.BatchNorm2d, nn.Identity, nn.Dropout)  # cost nothing where they are fused


@dataclass(frozen=True)
class Operation:
    """A module without modules at work: multiply-adds, and bytes in, out and of weights, each moved once."""

    part: str
    module: nn.Module
    takes: torch.Size
    gives: torch.Size
    multiply_adds: int
    moved: int


@dataclass(frozen=True)
class Body:
    """A network on its device, in evaluation mode, its parts, and an image that goes through it."""

    network: nn.Module
    layers: tuple[NetworkPart, ...]
    image: Tensor

    @property
    def names(self) -> list[str]:
        """The names of its parts, in the order of computation."""
        return [layer.name for layer in self.layers]

    def title(self, name: str) -> str:
        """A part's number and name, for pictures."""
        return f"{self.names.index(name) + 1}. {name}" if name else "between the parts"


def open_body(device: torch.device, budget: Budget) -> Body:
    """What the budget names, or the model that ships, in the parts that `cropland show` has."""
    recipe, network = recipe_and_network(budget.network)
    edge, bands = max(budget.size, LEAST), len(recipe.bands)
    image = torch.rand(1, bands, edge, edge, device=device).contiguous(memory_format=torch.channels_last)
    layers = anatomy(copy.deepcopy(network), bands, known=Field(None, 1)).layers
    return Body(place_network(network, device), layers, image)


def recipe_and_network(what: str | None) -> tuple[Recipe, nn.Module]:
    """What `cropland show` knows: a model, a recipe or the name of a network; None is the model that ships."""
    path = Path(what) if what else default_model()
    if path.suffix == ".safetensors":
        model = ModelFile.load(path)
        return model.recipe, model.network()
    recipe = read_recipe(path) if path.suffix == ".toml" else recipe_of(str(what))
    return recipe, build_network(recipe).eval()


@torch.no_grad()
def operations(network: nn.Module, names: Sequence[str], image: Tensor) -> list[Operation]:
    """What multiplies, pools or resizes in every part; what an engine folds into its neighbour is free."""
    found: list[Operation] = []
    hooks = []
    for name in names:
        for module in network.get_submodule(name).modules():
            if not any(True for _ in module.children()) and not isinstance(module, FOLDED):
                hooks.append(module.register_forward_hook(_noted(name, found)))
    network(image)
    for hook in hooks:
        hook.remove()
    return found


def _noted(name: str, found: list[Operation]) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        x, y = inputs[0], last(output)
        moved = FLOAT * sum(value.numel() for value in (x, y, *module.parameters()))
        found.append(Operation(name, module, x.shape, y.shape, multiply_adds(module, x, y), moved))

    return hook


def multiply_adds(module: nn.Module, x: Tensor, y: Tensor) -> int:
    """Of a module that turns x into y; 0 for what multiplies no matrix."""
    if not isinstance(module, MULTIPLY):
        return 0
    each = x if isinstance(module, nn.ConvTranspose2d) else y
    return each.numel() * module.weight[0].numel()


def forward_times(
    network: nn.Module, names: Sequence[str], image: Tensor, device: torch.device, *, rounds: int
) -> list[Seconds]:
    """Seconds per part in its place, round by round, without gradients, after two rounds of warm-up."""
    with torch.no_grad():
        return [_forward(network, names, image, device) for _ in range(rounds + 2)][2:]


def _forward(network: nn.Module, names: Sequence[str], image: Tensor, device: torch.device) -> Seconds:
    clock = _Clock(device)
    starting, stopping = (lambda name: lambda *_: clock.start(name)), (lambda name: lambda *_: clock.stop(name))
    with _hooked(network, names, before=starting, after=stopping):
        clock.start(REST)
        network(image)
        clock.stop(REST)
    return clock.spent


def training_times(
    network: nn.Module, names: Sequence[str], image: Tensor, device: torch.device, *, rounds: int
) -> list[tuple[float, Seconds]]:
    """Seconds forward, and seconds backward per part, of a copy in training mode."""
    learner = place_network(copy.deepcopy(network), device).train()
    with torch.enable_grad():
        return [_training(learner, names, image, device) for _ in range(rounds + 2)][2:]


def _training(network: nn.Module, names: Sequence[str], image: Tensor, device: torch.device) -> tuple[float, Seconds]:
    clock, forward = _Clock(device), _Clock(device)
    with _marked(network, names, clock):
        forward.start(REST)
        loss = last(network(image)).square().mean()
        forward.stop(REST)
        clock.start(REST)
        torch.autograd.backward(loss)
        for name in [*clock.running]:  # the image needs no gradient, so nothing stops the first part
            clock.stop(name)
    return forward.spent[REST], clock.spent


def kept(network: nn.Module, names: Sequence[str], image: Tensor) -> dict[str, int]:
    """Bytes that each part keeps for the backward pass, weights apart; a map is counted where it is first kept."""
    learner = copy.deepcopy(network).train()
    seen = {value.untyped_storage().data_ptr() for value in learner.parameters()}
    found: dict[str, int] = dict.fromkeys([*names, REST], 0)
    inside, held = [REST], []

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            held.append(storage)  # an address must not be used twice
            found[inside[-1]] += storage.nbytes()
        return value

    def leave(*_: Any) -> None:
        inside.pop()

    with (
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(note, lambda value: value),
        _hooked(learner, names, before=lambda name: lambda *_: inside.append(name), after=lambda _: leave),
    ):
        learner(image)
    return found


class _Clock:
    """Seconds by name; what runs within another is taken off it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.spent = device, defaultdict[str, float](float)
        self.running: dict[str, float] = {}

    def start(self, name: str) -> None:
        synchronise(self.device)
        self.running[name] = time.perf_counter()

    def stop(self, name: str) -> None:
        synchronise(self.device)
        seconds = time.perf_counter() - self.running.pop(name)
        self.spent[name] += seconds
        if name != REST:
            self.spent[REST] -= seconds


class _Mark(torch.autograd.Function):
    """The identity, which calls a function when the gradient comes by."""

    @staticmethod
    def forward(context: Any, x: Tensor, call: Callable[[], None]) -> Tensor:
        context.call = call
        return x.clone()  # the next module may write into it

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        context.call()
        return gradients[0], None


def _mark(x: Tensor, call: Callable[[], None]) -> Tensor:
    marked: Tensor = _Mark.apply(x, call)  # type: ignore[no-untyped-call]  # torch's own has no annotation
    return marked


@contextmanager
def _marked(network: nn.Module, names: Sequence[str], clock: _Clock) -> Iterator[None]:
    """Let a clock run between the gradient's arrival at a part and its departure."""

    def entering(name: str) -> Callable[..., Any]:
        return lambda _module, inputs: (_mark(inputs[0], lambda: clock.stop(name)), *inputs[1:])

    def leaving(name: str) -> Callable[..., Any]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if isinstance(output, Tensor):
                return _mark(output, lambda: clock.start(name))
            return [*output[:-1], _mark(output[-1], lambda: clock.start(name))]

        return hook

    with _hooked(network, names, before=entering, after=leaving):
        yield


@contextmanager
def _hooked(
    network: nn.Module, names: Sequence[str], *, before: Callable[[str], Any], after: Callable[[str], Any]
) -> Iterator[None]:
    modules = {name: network.get_submodule(name) for name in names}
    hooks = [module.register_forward_pre_hook(before(name)) for name, module in modules.items()]
    hooks += [module.register_forward_hook(after(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
