"""The exported graph of a network: every operation that an image meets, in order, and none of them in place."""

from __future__ import annotations

import logging

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx import Graph, Node

from cropland.language import said
from cropland.row_rules import UnboundedError

__all__ = ["exported"]


def exported(network: nn.Module, bands: int, size: tuple[int, int], *, any_size: bool = False) -> ExportedProgram:
    """The program of a network for an image (1, bands, *size), or for one of any height and width.

    Raises `UnboundedError`, which holds a `Said`, for a network that cannot be exported so.
    """
    like = next(network.parameters(), torch.zeros(()))
    image = torch.zeros((1, bands, *size), dtype=like.dtype, device=like.device)
    logging.getLogger("torch._subclasses.fake_tensor").disabled = True  # it prints the error that is caught here
    dynamic = ({2: Dim.DYNAMIC, 3: Dim.DYNAMIC},) if any_size else None
    try:
        program = torch.export.export(network, (image,), dynamic_shapes=dynamic)
        return program.run_decompositions({}) if _writes_where_others_read(program.graph) else program
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        cause = str(error).strip().splitlines() or [type(error).__name__]
        at = f"{size[0]} x {size[1]}"
        raise UnboundedError(
            said("the network cannot be exported at {size}: {error}", size=at, error=cause[0])
        ) from error


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
