"""From a network's exported graph to a step that takes the next band of rows."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, lcm

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from cropland.exported import exported
from cropland.language import said
from cropland.row_rules import SAME, Interpolation, Transposed, UnboundedError, Window, read
from cropland.streaming.arguments import across, argument, change, divides_by_known, name_of, padded
from cropland.streaming.band_graph import BandGraph, Fill, Flow
from cropland.streaming.schedule import Schedule

__all__ = ["Step", "plan"]

aten = torch.ops.aten
SIZE = (256, 320)  # of the image that is exported; any other would do
FILLS = {"zero": 0.0, "minus infinity": float("-inf")}
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

    Raises `UnboundedError`, which holds a `Said`, naming what cannot stream.
    """
    program = exported(network, bands, SIZE, any_size=True)
    inside = _Plan(program)
    edge = _Plan(program, inside.stride)
    schedule = Schedule(edge.stride, edge.output.delay, tuple(edge.to.masks), tuple(edge.to.kept))
    return Step(schedule, inside.module, edge.module)


class _Plan:
    """Follows the graph of a whole image, operation by operation; one method per kind of row rule."""

    def __init__(self, program: ExportedProgram, period: int | None = None) -> None:
        self.to = BandGraph(program, period)
        self.flows = self.to.flows
        self.axes = ({self.to.image: 2}, {self.to.image: 3})
        self.numbers: set[Node] = set()
        for node in program.graph.nodes:
            if node.op == "call_function":
                self._call(node)
        self.output = self.flows[program.graph.output_node().all_input_nodes[0]]
        if self.output.scale != 1:
            raise UnboundedError(said("the output is not as large as the image"))
        self.module = self.to.module(self.output.node)

    @property
    def stride(self) -> int:
        return lcm(*(flow.scale.numerator for flow in self.flows.values()))

    def _call(self, node: Node) -> None:
        sources = [source for source in node.all_input_nodes if source in self.flows]
        if not isinstance(node.meta["val"], Tensor | tuple | list):
            self.numbers.add(node)  # a length of the image, or made of one
            self.to.copies[node] = self.to.copy_number(node)
        elif sources:
            self.flows[node] = flow = self._follow(node, sources)
            self.to.copies[node] = flow.node
        elif self.numbers.isdisjoint(node.all_input_nodes):
            self.to.copies[node] = self.to.copy(node)
        else:
            raise UnboundedError(said("{name} makes values that belong to fixed places of the image", name=node.name))

    def _follow(self, node: Node, sources: list[Node]) -> Flow:
        try:
            rows, columns = (read(node, axes, spatial=spatial) for spatial, axes in enumerate(self.axes))
        except (TypeError, ValueError) as error:  # a number of the graph in the place of a constant
            raise UnboundedError(said("{name} depends on the size of the image", name=node.name)) from error
        for axes, reading in zip(self.axes, (rows, columns), strict=True):
            axes[node] = reading.axis
        match rows.rules[sources[0]]:
            case rule if rule == SAME or len(sources) > 1:
                return self._join(node, sources, rows.axis)
            case Window() as rule:
                return self._window(node, sources[0], rule)
            case Transposed() as rule:
                return self._transposed(node, sources[0], rule)
            case Interpolation() as rule:
                return self._interpolation(node, sources[0], rule, across=columns.rules[sources[0]].stride)

    def _join(self, node: Node, sources: list[Node], axis: int) -> Flow:
        """Side by side: what is ahead waits for what is behind."""
        flows = {source: self.flows[source] for source in sources}
        delay, scales = max(flow.delay for flow in flows.values()), {flow.scale for flow in flows.values()}
        if len(scales) > 1:
            raise UnboundedError(said("{name} joins maps of different scales", name=node.name))
        given = {source: self.to.late(source, delay - flow.delay) for source, flow in flows.items()}
        return Flow(self.to.copy_on_rows(node, given, axis), axis, scales.pop(), delay)

    def _window(self, node: Node, source: Node, rule: Window) -> Flow:
        flow, reach, fill = self.flows[source], (rule.kernel - 1) * rule.dilation, _fill(node, rule)
        least = flow.delay if fill == "clamp" else 0  # rows above the map are its first one, which must be there
        delay = max(least, ceil(Fraction(reach - rule.before + flow.delay + 1, rule.stride)) - 1)
        above = delay * rule.stride + rule.before - flow.delay  # rows that it needs before the new ones; below 0: skips
        below = flow.delay + 1 + reach - rule.before - (delay + 1) * rule.stride  # at most 0: rows for the next step
        more = padded(node, flow.axis)[1] if fill == "clamp" else 0  # so long the last row of the map is still needed
        start = max(-above, 0) + more
        kept = max(above, 0) + more
        block = self.to.block(source, kept, fill)
        rows = self.to.slice(block, flow.axis, start, below or None)
        made = self.to.copy_on_rows(node, {source: rows}, flow.axis)
        if self.to.period and divides_by_known(node, rule):
            known = self.to.slice(self.to.known(source, kept), flow.axis, start, below or None)
            made = self._divided(made, known, rule)
        return Flow(made, flow.axis, flow.scale * rule.stride, delay)

    def _divided(self, made: Node, known: Node, rule: Window) -> Node:
        """A mean over those rows only that are of the map."""
        column = self.to.add(aten.to.other, known, made)
        share = self.to.add(aten.avg_pool2d.default, column, [rule.kernel, 1], [rule.stride, 1])
        return self.to.add(aten.div.Tensor, made, share)

    def _transposed(self, node: Node, source: Node, rule: Transposed) -> Flow:
        flow, reach = self.flows[source], (rule.kernel - 1) * rule.dilation
        delay, above = flow.delay * rule.step + rule.before, reach // rule.step
        block = self.to.block(source, above, 0.0)
        made, gap = self.to.copy(node, {source: block}), max(0, rule.step - reach - 1)
        columns = {name: across(argument(node, name), 0) for name in ("padding", "output_padding")}
        change(made, padding=[0, columns["padding"]], output_padding=[gap, columns["output_padding"]])
        below = rule.step - reach - 1 - gap  # at most 0: rows to which the next input rows will add
        rows = self.to.slice(made, flow.axis, above * rule.step, below or None)
        return Flow(rows, flow.axis, flow.scale / rule.step, delay)

    def _interpolation(self, node: Node, source: Node, rule: Interpolation, *, across: Fraction | int) -> Flow:
        flow, factor = self.flows[source], 1 / rule.stride
        if factor.denominator != 1:
            raise UnboundedError(said("{name} stretches by {factor}, no whole number", name=node.name, factor=factor))
        reached = factor * (flow.delay + rule.shift)
        delay = max(0, ceil(reached + factor) - 1 if rule.linear else floor(reached))
        above = -flow.delay - floor(rule.shift - delay * rule.stride)
        block = self.to.block(source, above, "clamp")
        corners = [False] if rule.linear else []
        grown = self.to.add(GROWING[name_of(node)], block, None, *corners, [float(factor), float(1 / across)])
        start, below = int((flow.delay + above) * factor) - delay, int(flow.delay * factor) - delay
        rows = self.to.slice(grown, flow.axis, start, below or None)
        return Flow(rows, flow.axis, flow.scale * rule.stride, delay)


def _fill(node: Node, rule: Window) -> Fill:
    """What an operation takes for rows beyond its map."""
    if name_of(node) == "avg_pool2d":
        if argument(node, "ceil_mode") and rule.before and argument(node, "count_include_pad"):
            raise UnboundedError(said("{name} divides by another number at the last row", name=node.name))
        return 0.0
    if rule.beyond in FILLS:
        return FILLS[rule.beyond]
    match rule.beyond:
        case "nothing":
            return None
        case "replicate":
            return "clamp"
        case "reflect":
            raise UnboundedError(said("{name} mirrors the edge", name=node.name))
    return float(rule.beyond)
