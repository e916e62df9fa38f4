"""What a model file, a network or a recipe is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cropland.catalog import is_foreign, names, nearest
from cropland.errors import InputError
from cropland.model import Model, build_network
from cropland.receptive_field import Field, field
from cropland.recipe import Network, Recipe, read_recipe

SIZE = 512  # pixels along an edge of the image that is followed through the network
DEPTH = 2  # a module within more than one other is counted with it


@dataclass(frozen=True)
class Layer:
    """A part of a network: `stride` in image pixels per pixel of its output, multiply-adds per image pixel."""

    name: str
    kind: str
    channels: int
    stride: float
    parameters: int
    multiply_adds: float


@dataclass(frozen=True)
class Anatomy:
    """A network in numbers; `radius` is None where the field has no bound, and `reason` says why."""

    parameters: int
    multiply_adds: float
    radius: int | None
    stride: int
    reason: str | None
    layers: tuple[Layer, ...]


def anatomy(network: nn.Module, bands: int, *, known: Field | None = None) -> Anatomy:
    """Follow an image through a network that takes `bands` bands; a `known` field is not computed again.

    Multiply-adds are half the operations that `torch.utils.flop_counter` counts: convolutions and matrix products.
    """
    seen = known or field(network.eval(), bands)
    counter, shapes = _follow(network, bands)
    counts = {
        name.partition(".")[2]: sum(kinds.values()) / 2 / SIZE**2 for name, kinds in counter.get_flop_counts().items()
    }
    parts = sorted(_parts(network, "", shapes), key=lambda part: list(shapes).index(part[0]))
    layers = tuple(_layer(name, part, shapes[name], counts.get(name, 0.0)) for name, part in parts)
    total = counter.get_total_flops() / 2 / SIZE**2
    return Anatomy(_parameters(network), total, seen.radius, seen.stride, seen.reason, layers)


def describe(what: str, *, trust: bool = False) -> dict[str, Any]:
    """What `command` shows, as plain values: a model's or recipe's header and the anatomy of its network."""
    path = Path(what)
    if path.suffix == ".safetensors":
        model = Model.load(path, trust=trust)
        known = Field(model.radius, model.stride, None if model.radius is not None else "measured when it was trained")
        seen = anatomy(model.network(), len(model.bands), known=known)
        return {"model": str(path), **model.header(), "anatomy": asdict(seen)}
    recipe = read_recipe(path) if path.suffix == ".toml" else _recipe_of(what)
    seen = anatomy(build_network(recipe), len(recipe.bands))
    return {"recipe": recipe.model_dump(mode="json"), "anatomy": asdict(seen)}


def command(what: str, /, *, as_json: Annotated[bool, Parameter(name="--json")] = False, trust: bool = False) -> None:
    """Show what a model file, a network or a recipe is made of.

    Example:

        cropland show model.safetensors
        cropland show unet --json

    Parameters
    ----------
    what
        A model (.safetensors), a recipe (.toml), or a network: `unet`, `file.py:Name`, `package.module:Name`.
    as_json
        Print JSON for programs instead of tables for people.
    trust
        Run the code that a model file names.
    """
    found = describe(what, trust=trust)
    print(json.dumps(found, indent=2, ensure_ascii=False)) if as_json else _print(found, Console())


def _follow(network: nn.Module, bands: int) -> tuple[FlopCounterMode, dict[str, torch.Size]]:
    """Count operations and note every module's output shape, on the meta device: nothing is computed."""
    shapes: dict[str, torch.Size] = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            last = output if isinstance(output, Tensor) else output[-1]
            shapes[name] = last.shape

        return hook

    shadow = network.to("meta").eval()
    hooks = [module.register_forward_hook(note(name)) for name, module in shadow.named_modules() if name]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(torch.zeros(1, bands, SIZE, SIZE, device="meta"))
    for hook in hooks:
        hook.remove()
    return counter, shapes


def _parts(
    module: nn.Module, name: str, shapes: Mapping[str, torch.Size], depth: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """The blocks of a network; a list of modules, which is never called itself, adds no depth."""
    for key, child in module.named_children():
        path, called = f"{name}.{key}".lstrip("."), f"{name}.{key}".lstrip(".") in shapes
        if called and (depth + 1 == DEPTH or _is_block(child)):
            yield path, child
        else:
            yield from _parts(child, path, shapes, depth + called)


def _is_block(module: nn.Module) -> bool:
    own = type(module).__module__.startswith("cropland.blocks")
    return own or isinstance(module, nn.Sequential) or not any(True for _ in module.children())


def _layer(name: str, module: nn.Module, shape: torch.Size, multiply_adds: float) -> Layer:
    return Layer(name, type(module).__name__, shape[1], SIZE / shape[-1], _parameters(module), multiply_adds)


def _parameters(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def _recipe_of(name: str) -> Recipe:
    """The recipe of a bare network with the options it has by itself."""
    known = names("networks")
    if not is_foreign(name) and name not in known:
        raise InputError(f"'{name}' is no .safetensors, no .toml and no network; {nearest(name, known)}")
    return Recipe(name=name, network=Network(name=name))


def _print(found: dict[str, Any], console: Console) -> None:
    for table in (_facts(found), _layers(found["anatomy"])):
        console.print(table)


def _facts(found: dict[str, Any]) -> Table:
    recipe, seen = found["recipe"], found["anatomy"]
    table = Table(title=found.get("model", recipe["name"]), show_header=False, box=box.SIMPLE, title_justify="left")
    table.add_row("network", f"{recipe['network']['name']} {recipe['network']['options'] or ''}")
    table.add_row("bands", ", ".join(recipe["bands"]))
    table.add_row("outputs", ", ".join(recipe["outputs"]))
    table.add_row("parameters", f"{seen['parameters']:,}")
    table.add_row("multiply-adds", f"{seen['multiply_adds']:,.0f} per pixel of the image, as below")
    table.add_row("receptive field", _field(seen))
    table.add_row("stride", f"{seen['stride']} pixels")
    for pixel in found.get("working_pixels", ()):
        table.add_row(f"at {pixel['pixel_m']:g} m", f"IoU {pixel['iou']:.4f}, threshold {pixel['threshold']:.3f}")
    if "version" in found:
        table.add_row("made by", f"cropland {found['version']}, sources {found['source_hash']}")
    return table


def _field(seen: dict[str, Any]) -> str:
    if seen["radius"] is None:
        return f"no bound: {seen['reason']}"
    return f"{seen['radius']} pixels to every side"


def _layers(seen: dict[str, Any]) -> Table:
    table = Table("layer", box=box.SIMPLE)
    for name in ("channels", "stride", "parameters", "multiply-adds"):
        table.add_column(name, justify="right")
    for layer in seen["layers"]:
        numbers = (layer["channels"], layer["stride"], layer["parameters"], round(layer["multiply_adds"]))
        table.add_row(layer["name"], *(f"{number:,.12g}" for number in numbers))
    return table
