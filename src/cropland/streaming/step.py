"""From a network's exported graph to a step that takes the next band of rows."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node

from cropland.language import Message
from cropland.streaming.arguments import (
    FAR,
    SIZED,
    across,
    as_method,
    change,
    change_length,
    divides_by_known,
    functional,
    on_rows,
)
from cropland.streaming.flow import Fill, Flow, above, below, follow, stride_of
from cropland.streaming.kept_rows import Overlaps
from cropland.streaming.program import (
    UnboundedError,
    argument,
    followable,
    image_of,
    is_number,
    name_of,
    output_of,
)
from cropland.streaming.row_rules import SAME, Interpolation, Transposed, WindowRule
from cropland.streaming.schedule import Beyond, Block, Kept, Length, Schedule, usual_band

__all__ = ["BandGraph", "Step", "plan"]


aten = torch.ops.aten
SIZE = (256, 320)  # of the image that is exported; any other would do
GROWING = {
    "upsample_bilinear2d": aten.upsample_bilinear2d.vec,
    "upsample_nearest2d": aten.upsample_nearest2d.vec,
    "_upsample_nearest_exact2d": aten._upsample_nearest_exact2d.vec,
    "upsample_nearest_exact2d": aten._upsample_nearest_exact2d.vec,
}


@dataclass(frozen=True)
class Step:
    """A step in two forms: `edge` takes the masks of its schedule too, `inside` is for steps that need none.

    Both are called with (image, *masks, *kept) and give (output, *kept), at first with what `Schedule.first` makes.
    """

    schedule: Schedule
    inside: GraphModule
    edge: GraphModule


def plan(network: nn.Module, bands: int) -> Step:
    """The step of a network in evaluation mode that takes (1, bands, height, width).

    Raises `UnboundedError`, which holds a `Message`, naming what cannot stream.
    """
    program = followable(network, bands, SIZE, any_size=True)
    flows = follow(program)
    stride = stride_of(program, {node: flow.scale for node, flow in flows.items()})
    overlaps = Overlaps(flows, usual_band(stride))
    inside, edge = (BandGraph(program, flows, overlaps, period) for period in (None, stride))
    modules = [_Copy(program, graph).module for graph in (inside, edge)]
    largest = ceil(overlaps.largest / SIZE[1])
    return Step(
        Schedule(stride, flows[output_of(program)].delay, largest, tuple(edge.masks), tuple(edge.kept)), *modules
    )


class _Copy:
    """Copies the graph of a whole image to that of a band, operation by operation; one method per kind of row rule."""

    def __init__(self, program: ExportedProgram, to: BandGraph) -> None:
        self.to, self.flows, self.overlaps = to, to.flows, to.overlaps
        self._hold(to.image, to.copies[to.image])
        for node in program.graph.nodes:
            if node in self.flows and node is not to.image:
                self._hold(node, self._follow(node))
            elif node.op == "call_function":
                to.copies[node] = to.copy_number(node) if is_number(node) else to.copy(node)
        self.module = to.module(to.copies[output_of(program)])

    def _hold(self, node: Node, made: Node) -> None:
        rows = self.overlaps.rows[node]
        self.to.copies[node] = self.to.keep(node, made, rows) if self.overlaps.kept[node] else made

    def _follow(self, node: Node) -> Node:
        source, rule = next(iter(self.flows[node].rules.items()))
        match rule:
            case rule if rule == SAME or len(self.flows[node].rules) > 1:
                return self._join(node)
            case WindowRule():
                return self._window(node, source, rule)
            case Transposed():
                return self._transposed(node, source, rule)
            case Interpolation():
                return self._interpolation(node, source, rule)

    def _above(self, node: Node, source: Node) -> int:
        return above(self.flows[node], source, self.flows[source].delay, self.overlaps.made(node))

    def _join(self, node: Node) -> Node:
        """Side by side: what is ahead waits for what is behind."""
        flow, given = self.flows[node], dict[Node, Node]()
        for source in flow.rules:
            late = flow.delay - self.flows[source].delay
            start = self._above(node, source)
            if start > self.overlaps.rows[source]:
                given[source] = self.to.queue(source, late, self.overlaps.made(node))
            else:
                given[source] = self.to.rows(source, start, -late or None)
        return self.to.copy_on_rows(node, given, flow.axis)

    def _window(self, node: Node, source: Node, rule: WindowRule) -> Node:
        flow, start = self.flows[node], self._above(node, source)
        stop = below(node, flow, rule, self.flows[source].delay)
        rows = self.to.rows(source, start, stop, flow.fill)
        made = self.to.copy_on_rows(node, {source: rows}, flow.axis)
        if self.to.period and divides_by_known(node, rule):
            made = self._divided(made, self.to.part(source, self.to.known(source), start, stop), rule)
        return made

    def _divided(self, made: Node, known: Node, rule: WindowRule) -> Node:
        """A mean over those rows only that are of the map."""
        column = self.to.add(aten.to.other, known, made)
        share = self.to.add(aten.avg_pool2d.default, column, [rule.kernel, 1], [rule.stride, 1])
        return self.to.add(aten.div.Tensor, made, share)

    def _transposed(self, node: Node, source: Node, rule: Transposed) -> Node:
        flow, reach, start = self.flows[node], (rule.kernel - 1) * rule.dilation, self._above(node, source)
        block = self.to.rows(source, start, None, flow.fill)
        made, gap = self.to.copy(node, {source: block}), max(0, rule.step - reach - 1)
        columns = {name: across(argument(node, name), 0) for name in ("padding", "output_padding")}
        change(made, padding=[0, columns["padding"]], output_padding=[gap, columns["output_padding"]])
        stop = rule.step - reach - 1 - gap  # at most 0: rows to which the next input rows will add
        return self.to.slice(made, flow.axis, start * rule.step - self.overlaps.made(node), stop or None)

    def _interpolation(self, node: Node, source: Node, rule: Interpolation) -> Node:
        flow, behind, factor = self.flows[node], self.flows[source].delay, int(1 / rule.stride)
        start = self._above(node, source)
        block = self.to.rows(source, start, None, flow.fill)
        corners = [False] if rule.linear else []
        grown = self.to.add(GROWING[name_of(node)], block, None, *corners, [float(factor), float(1 / flow.across)])
        first = (behind + start) * factor - flow.delay - self.overlaps.made(node)
        return self.to.slice(grown, flow.axis, first, behind * factor - flow.delay or None)


TALL = 64  # periods of an image that has rows in every map


class BandGraph:
    """A graph of a band, copied from that of a whole image (`copies`); with masks if `period`, its stride, is known."""

    def __init__(
        self,
        program: ExportedProgram,
        flows: Mapping[Node, Flow],
        overlaps: Overlaps,
        period: int | None,
    ) -> None:
        self.image, self.flows, self.overlaps, self.period = image_of(program), flows, overlaps, period
        self.root, self.graph = nn.Module(), Graph()
        self.copies: dict[Node, Node] = {}
        self._filled: dict[tuple[Node, Fill], Node] = {}
        self.masks: dict[Block, Node] = {}
        self.kept: list[Kept] = []
        self.results: list[Node] = []
        signature, values = program.graph_signature, {**program.state_dict, **program.constants}
        placeholder = self.graph.placeholder("image")
        # masks come before the first of these, kept rows before the second
        self.anchors = [self.graph.call_function(int) for _ in range(2)]
        self.copies[self.image] = placeholder
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

    def keep(self, source: Node, new: Node, rows: int) -> Node:
        """The last rows of the step before, above the new ones."""
        axis = self.flows[source].axis
        block = self.add(aten.cat.default, [self._kept(source, rows), new], axis)
        self.results.append(self.slice(block, axis, -rows, None))
        return block

    def queue(self, source: Node, late: int, overlap: int) -> Node:
        """A map as it was that many rows ago, and rows above these; right for any band, fast for one that is no higher
        than the queue is long: then nothing but the new rows is put behind what waits."""
        axis, own, length = self.flows[source].axis, self.overlaps.rows[source], late + overlap
        kept, block = self._kept(source, length), self.copies[source]
        count = self.graph.call_function(operator.sub, (self.graph.call_method("size", (block, axis)), own))
        stop = self.graph.call_function(operator.add, (count, overlap))
        parts = (slice(None, stop), slice(count, length - own))  # what comes out, and what goes on to wait
        out, rest = (
            self.graph.call_function(operator.getitem, (kept, (*[slice(None)] * axis, part))) for part in parts
        )
        self.results.append(self.add(aten.cat.default, [rest, self.slice(block, axis, -length, None)], axis))
        return self.add(aten.cat.default, [out, self.slice(block, axis, own, -late)], axis)

    def rows(self, source: Node, above: int, below: int | None = None, fill: Fill = None) -> Node:
        """The new rows without the last few, and rows above them; those beyond the map as an operation takes them."""
        return self.part(source, self._block(source, fill), above, below)

    def part(self, source: Node, block: Node, above: int, below: int | None) -> Node:
        """Of all rows of a source."""
        return self.slice(block, self.flows[source].axis, self.overlaps.rows[source] - above, below)

    def known(self, source: Node) -> Node:
        """Which rows are of the map, in as many axes as it has."""
        shape = [1] * len(source.meta["val"].shape)  # OpenVINO computes a mask of fewer axes several times as slowly
        shape[self.flows[source].axis] = -1
        return self.add(aten.view.default, self._mask(source, "fill"), shape)

    def _block(self, source: Node, fill: Fill) -> Node:
        block = self.copies[source]
        if fill is None or not self.period:
            return block
        if (source, fill) not in self._filled:
            if fill == "clamp":
                rows = self._mask(source, "clamp")
                filled = self.add(aten.index_select.default, block, self.flows[source].axis, rows)
            else:
                filled = self.add(aten.where.ScalarOther, self.known(source), block, fill)
            self._filled[source, fill] = filled
        return self._filled[source, fill]

    def _mask(self, source: Node, beyond: Beyond) -> Node:
        flow, rows = self.flows[source], self.overlaps.rows[source]
        block = Block(rows, flow.delay, flow.scale, self._length(source, flow.axis, along=0), beyond)
        if block not in self.masks:
            with self.graph.inserting_before(self.anchors[0]):
                self.masks[block] = self.graph.placeholder(f"mask_{len(self.masks)}")
        return self.masks[block]

    def _kept(self, source: Node, rows: int) -> Node:
        if self.period:
            axes, own = range(len(source.meta["val"].shape)), self.flows[source].axis
            self.kept.append(Kept(tuple(rows if axis == own else self._length(source, axis, along=1) for axis in axes)))
        with self.graph.inserting_before(self.anchors[1]):
            return self.graph.placeholder(f"kept_{len(self.results)}")

    def _length(self, source: Node, axis: int, *, along: int) -> Any:
        """How long an axis of a map is, as a function of the image's height (`along` 0) or width (1)."""
        size, image = source.meta["val"].shape[axis], self.image.meta["val"].shape[2 + along]
        if isinstance(size, int):
            return size
        assert self.period
        base, symbol = TALL * self.period, image.node.expr
        sizes = [size.node.expr.subs(symbol, base + more) for more in range(self.period + 1)]
        if any(each.free_symbols for each in sizes):
            raise UnboundedError(Message("{name} has rows and columns in one axis", name=source.name))
        lengths = [int(each) for each in sizes]
        return Length(base, tuple(lengths[:-1]), lengths[-1] - lengths[0])
