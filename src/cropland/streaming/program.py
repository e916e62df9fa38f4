"""A network as a program of torch.export: made, read node by node, and compared with what else computes the network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import Graph, Node

from cropland.errors import first_line
from cropland.language import Message

__all__ = [
    "NotExportedError",
    "UnboundedError",
    "argument",
    "exported",
    "followable",
    "image_of",
    "is_number",
    "largest_difference",
    "name_of",
    "output_of",
    "shape",
]

Batch = Float[np.ndarray, "batch channel height width"]


class NotExportedError(Exception):
    """A network of which torch.export makes no program; holds the first line of why."""


class UnboundedError(Exception):
    """An operation for which no finite number of input rows is enough, or none is known; holds a `Message`."""


def exported(network: nn.Module, shape: tuple[int, ...], *, any_size: Collection[int] = ()) -> ExportedProgram:
    """The program of a network for images of a shape, of any length along some axes. Raises `NotExportedError`."""
    like = next(network.parameters(), torch.zeros(()))
    image = torch.zeros(shape, dtype=like.dtype, device=like.device)
    logging.getLogger("torch._subclasses.fake_tensor").disabled = True  # it prints the error that is caught here
    axes = (dict.fromkeys(any_size, Dim.DYNAMIC),) if any_size else None
    try:
        return torch.export.export(network, (image,), dynamic_shapes=axes)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise NotExportedError(first_line(error)) from error


def followable(network: nn.Module, bands: int, size: tuple[int, int], *, any_size: bool = False) -> ExportedProgram:
    """The program for an image (1, bands, *size), or for one of any height and width, whose graph shows all that is
    written.

    Raises `UnboundedError` for a network that cannot be exported so.
    """
    try:
        program = exported(network, (1, bands, *size), any_size=(2, 3) if any_size else ())
    except NotExportedError as error:
        at = f"{size[0]} x {size[1]}"
        raise UnboundedError(
            Message("the network cannot be exported at {size}: {error}", size=at, error=error.args[0])
        ) from error
    return program.run_decompositions({}) if _writes_where_others_read(program.graph) else program


def _writes_where_others_read(graph: Graph) -> bool:
    """Whether an operation in place (`relu_`, `x[:, :2] += y`) changes what is read again, under its old name or as a
    part of something else, where the graph does not show it.

    Without decompositions, `run_decompositions` turns it into ordinary operations, at the price of a second export.
    """
    order = {node: place for place, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None or not schema.is_mutable or not isinstance(node.args[0], Node):
            continue
        written = node.args[0]
        is_part = any(each.alias_info for each in getattr(getattr(written.target, "_schema", None), "returns", ()))
        if is_part or any(order[user] > order[node] for user in written.users):
            return True
    return False


def image_of(program: ExportedProgram) -> Node:
    """The one input of a program."""
    (name,) = program.graph_signature.user_inputs
    image: Node = next(node for node in program.graph.nodes if node.name == name)
    return image


def output_of(program: ExportedProgram) -> Node:
    """The one output of a program."""
    output: Node = program.graph.output_node().all_input_nodes[0]
    return output


def is_number(node: Node) -> bool:
    """Whether a node is a length of the image, or made of one; no map."""
    return not isinstance(node.meta["val"], Tensor | tuple | list)


def shape(node: Node) -> tuple[int, ...]:
    """The shape of a node's value; of an image of any size, that of the one which was exported."""
    return tuple(n if isinstance(n, int) else int(n.node.hint) for n in getattr(node.meta["val"], "shape", ()))


def name_of(node: Node) -> str:
    """`conv2d` of aten.conv2d.default, `relu` of aten.relu_.default."""
    return getattr(node.target, "__name__", str(node.target)).split(".")[0].removesuffix("_")


def argument(node: Node, name: str) -> Any:
    """The value of an argument, or its default; None where the operation has none of this name."""
    for place, known in enumerate(getattr(getattr(node.target, "_schema", None), "arguments", ())):
        if known.name == name:
            return node.args[place] if place < len(node.args) else node.kwargs.get(name, known.default_value)
    return None


def largest_difference(
    run: Callable[[Batch], Batch], network: nn.Module, shape: tuple[int, ...], *, relative: bool = False
) -> float:
    """The largest difference between what a run and a network on the CPU make of a random image; infinite where it is
    no number, or the shapes differ.

    The image reaches a little beyond -0.5 .. 1.5, to which bands are clipped. relative: in units of 1 + the largest
    value.
    """
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2.2 - 0.6
    with torch.inference_mode():
        expected = network(image).numpy()
    came = run(image.numpy())
    if came.shape != expected.shape:
        return np.inf
    apart = float(np.abs(came - expected).max()) / (1 + float(np.abs(expected).max()) if relative else 1)
    return apart if np.isfinite(apart) else np.inf
