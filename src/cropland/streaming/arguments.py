"""The arguments of an operation in a graph, by name; and what they are where it works on a block of rows."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Node

from cropland.language import Message
from cropland.streaming.program import UnboundedError, argument, name_of
from cropland.streaming.row_rules import WindowRule

__all__ = [
    "FAR",
    "SIZED",
    "across",
    "as_method",
    "change",
    "change_length",
    "divides_by_known",
    "functional",
    "on_rows",
    "padded",
]

aten = torch.ops.aten
FAR = 2**63 - 1  # the end of a slice that has none
SIZED = ("view", "_unsafe_view", "reshape", "expand")  # they name the lengths of all axes


def change(node: Node, **values: Any) -> None:
    """Give arguments other values."""
    known = [each for each in node.target._schema.arguments if not each.kwarg_only]  # type: ignore[union-attr]
    node.args = tuple(values.get(each.name, argument(node, each.name)) for each in known)
    node.kwargs = {name: value for name, value in node.kwargs.items() if name not in {each.name for each in known}}


def functional(target: Any) -> Any:
    """The operation itself in the place of one that writes into its input (`relu_`)."""
    schema = getattr(target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return target
    packet = getattr(aten, target.__name__.split(".")[0].removesuffix("_"))
    return getattr(packet, target._overloadname)


def on_rows(node: Node, axis: int) -> None:
    """Let an operation work on a block whose `axis` is rows: it pads and cuts columns only."""
    name = name_of(node)
    if name in ("conv2d", "convolution"):
        _pad_columns(node)
    elif name in ("max_pool2d", "max_pool2d_with_indices", "avg_pool2d"):
        change(node, padding=[0, across(argument(node, "padding"), 0)])
    elif name in ("pad", "constant_pad_nd"):
        pads, place = list(argument(node, "pad")), _place(node, axis)
        pads[place] = [0] * len(pads[place])
        change(node, pad=pads)
    elif name == "slice" and argument(node, "dim") % len(node.meta["val"].shape) == axis:
        change(node, start=0, end=FAR)


def as_method(node: Node) -> None:
    """Write an operation that takes lengths as a method, since a trace follows numbers only there."""
    name = name_of(node)
    if name == "slice":
        source, dim = node.args[0], argument(node, "dim") % len(node.meta["val"].shape)
        part = slice(argument(node, "start"), argument(node, "end"), argument(node, "step"))
        node.target, node.args = operator.getitem, (source, (*[slice(None)] * dim, part))
    elif name in SIZED:
        sizes = argument(node, "shape" if name == "reshape" else "size")
        node.op, node.target = "call_method", "expand" if name == "expand" else "reshape"
        node.args = (node.args[0], *sizes)


def padded(node: Node, axis: int) -> list[Any]:
    """Rows before and after that a `pad` adds along an axis."""
    return list(argument(node, "pad"))[_place(node, axis)]


def _place(node: Node, axis: int) -> slice:
    from_last = 2 * (len(node.meta["val"].shape) - 1 - axis)  # the last axis comes first
    return slice(from_last, from_last + 2)


def change_length(node: Node, axis: int, rows: Node) -> None:
    """The length of an axis in an operation that names the lengths of all of them."""
    word = "shape" if name_of(node) == "reshape" else "size"
    sizes = list(argument(node, word))
    sizes[axis] = rows
    change(node, **{word: sizes})


def _pad_columns(node: Node) -> None:
    padding = argument(node, "padding")
    if isinstance(padding, str):
        kernel, dilation = argument(node, "weight").meta["val"].shape[3], across(argument(node, "dilation"), 1)
        reach = (kernel - 1) * dilation if padding == "same" else 0
        if reach % 2:
            raise UnboundedError(Message("{name} pads one side more than the other", name=node.name))
        padding, node.target = [0, reach // 2], aten.conv2d.default
    change(node, padding=[0, across(padding, 0)])


def across(value: Any, default: int) -> int:
    """An argument's entry for columns."""
    value = value if value not in (None, []) else [default]
    return int(value if isinstance(value, int) else value[-1])


def divides_by_known(node: Node, rule: WindowRule) -> bool:
    """Whether an operation is a mean that leaves out what lies beyond the edge."""
    if name_of(node) != "avg_pool2d":
        return False
    return bool(argument(node, "ceil_mode")) or (rule.before > 0 and not argument(node, "count_include_pad"))
