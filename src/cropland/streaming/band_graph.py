"""The graph of a step while it is made: what was copied, the rows that are kept, and the masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node

from cropland.language import said
from cropland.row_rules import UnboundedError
from cropland.streaming.arguments import FAR, SIZED, as_method, change_length, functional, name_of, on_rows
from cropland.streaming.schedule import Beyond, Block, Kept, Length

__all__ = ["BandGraph", "Fill", "Flow"]

aten = torch.ops.aten
Fill = float | Literal["clamp"] | None  # what an operation takes for rows beyond its map; None: it never looks there
TALL = 64  # periods of an image that has rows in every map


@dataclass(frozen=True)
class Flow:
    """A map on its way: its node in the new graph, its axis of rows, image rows per row, rows behind the image."""

    node: Node
    axis: int
    scale: Fraction
    delay: int


class BandGraph:
    """A graph of a band, copied from that of a whole image (`copies`); with masks if `period`, its stride, is known."""

    def __init__(self, program: ExportedProgram, period: int | None) -> None:
        self.period, self.root, self.graph = period, nn.Module(), Graph()
        self.copies: dict[Node, Node] = {}
        self.flows: dict[Node, Flow] = {}
        self.masks: dict[Block, Node] = {}
        self.kept: list[Kept] = []
        self.results: list[Node] = []
        signature, values = program.graph_signature, {**program.state_dict, **program.constants}
        (self.image,) = (node for node in program.graph.nodes if node.name in signature.user_inputs)
        placeholder = self.graph.placeholder("image")
        # masks come before the first of these, kept rows before the second
        self.anchors = [self.graph.call_function(int) for _ in range(2)]
        self.copies[self.image], self.flows[self.image] = placeholder, Flow(placeholder, 2, Fraction(1), 0)
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        names |= signature.inputs_to_lifted_tensor_constants
        for node in program.graph.nodes:
            if node.op == "placeholder" and node is not self.image:
                self.root.register_buffer(node.name, values[names[node.name]].detach())
                self.copies[node] = copy = self.graph.get_attr(node.name)
                copy.meta = dict(node.meta)

    def module(self, output: Node) -> GraphModule:
        """What takes (image, *masks, *kept) and gives (output, *kept)."""
        self.graph.output((output, *self.results))
        for anchor in self.anchors:
            self.graph.erase_node(anchor)
        self.graph.eliminate_dead_code(is_impure_node=lambda node: node.op in ("placeholder", "output"))
        return GraphModule(self.root, self.graph)

    def add(self, operation: Any, *arguments: Any) -> Node:
        """An operation that the whole image does not need."""
        return self.graph.call_function(operation, arguments)

    def slice(self, node: Node, axis: int, start: int, stop: int | None) -> Node:
        """A part along an axis."""
        if start == 0 and stop is None:
            return node
        return self.add(aten.slice.Tensor, node, axis, start, FAR if stop is None else stop)

    def copy(self, node: Node, given: Mapping[Node, Node] = {}) -> Node:
        """The same operation on the copies of its inputs, or on those `given`."""
        copy = self.graph.node_copy(node, lambda source: given.get(source) or self.copies[source])
        copy.target = functional(node.target)
        return copy

    def copy_number(self, node: Node) -> Node:
        """A length, or what is made of lengths."""
        if name_of(node) != "sym_size":
            return self.copy(node)
        source, axis = node.all_input_nodes[0], node.args[1]
        return self.graph.call_method("size", (self.copies[source], axis))  # what a trace follows too

    def copy_on_rows(self, node: Node, given: Mapping[Node, Node], axis: int) -> Node:
        """The same operation on blocks of rows, which are `axis` of its result."""
        made = self.copy(node, given)
        if name_of(node) in SIZED:
            source, block = next(iter(given.items()))
            with self.graph.inserting_before(made):
                change_length(made, axis, self.graph.call_method("size", (block, self.flows[source].axis)))
        else:
            on_rows(made, axis)
        as_method(made)
        return made

    def late(self, source: Node, rows: int) -> Node:
        """A map as it was that many rows ago."""
        flow = self.flows[source]
        return self.slice(self._with_kept(source, flow.node, rows), flow.axis, 0, -rows or None)

    def block(self, source: Node, rows: int, fill: Fill) -> Node:
        """Kept rows and the new ones, those beyond the map as the operation takes them."""
        flow = self.flows[source]
        if fill == "clamp":
            block = self._with_kept(source, flow.node, rows)
            if not self.period:
                return block
            return self.add(aten.index_select.default, block, flow.axis, self._mask(source, rows, "clamp"))
        if fill is None or not self.period:
            return self._with_kept(source, flow.node, rows, fill or 0.0)
        # Only the new rows are masked: those that are kept were, when they were new.
        new = self.add(aten.where.ScalarOther, self.known(source, 0), flow.node, fill)
        return self._with_kept(source, new, rows, fill)

    def known(self, source: Node, rows: int) -> Node:
        """Which of so many kept rows and the new ones are of the map, in as many axes as it has."""
        shape = [1] * len(source.meta["val"].shape)  # OpenVINO computes a mask of fewer axes several times as slowly
        shape[self.flows[source].axis] = -1
        return self.add(aten.view.default, self._mask(source, rows, "fill"), shape)

    def _mask(self, source: Node, rows: int, beyond: Beyond) -> Node:
        flow = self.flows[source]
        block = Block(rows, flow.delay, flow.scale, self._length(source, flow.axis, along=0), beyond)
        if block not in self.masks:
            with self.graph.inserting_before(self.anchors[0]):
                self.masks[block] = self.graph.placeholder(f"mask_{len(self.masks)}")
        return self.masks[block]

    def _with_kept(self, source: Node, new: Node, rows: int, fill: float = 0.0) -> Node:
        flow = self.flows[source]
        if not rows:
            return new
        with self.graph.inserting_before(self.anchors[1]):
            kept = self.graph.placeholder(f"kept_{len(self.results)}")
        block = self.add(aten.cat.default, [kept, new], flow.axis)
        self.results.append(self.slice(block, flow.axis, -rows, None))
        if self.period:
            axes = range(len(source.meta["val"].shape))
            sizes = (rows if each == flow.axis else self._length(source, each, along=1) for each in axes)
            self.kept.append(Kept(tuple(sizes), fill))
        return block

    def _length(self, source: Node, axis: int, *, along: int) -> Any:
        """How long an axis of a map is, as a function of the image's height (`along` 0) or width (1)."""
        size, image = source.meta["val"].shape[axis], self.image.meta["val"].shape[2 + along]
        if isinstance(size, int):
            return size
        assert self.period
        base, symbol = TALL * self.period, image.node.expr
        sizes = [size.node.expr.subs(symbol, base + more) for more in range(self.period + 1)]
        if any(each.free_symbols for each in sizes):
            raise UnboundedError(said("{name} has rows and columns in one axis", name=source.name))
        lengths = [int(each) for each in sizes]
        return Length(base, tuple(lengths[:-1]), lengths[-1] - lengths[0])
