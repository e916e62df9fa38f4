"""From a network's exported graph to a step that takes the next band of rows."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, lcm

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from cropland.exported import exported
from cropland.language import said
from cropland.row_rules import SAME, Interpolation, Transposed, UnboundedError, Window
from cropland.streaming.arguments import across, argument, change, divides_by_known, name_of
from cropland.streaming.band_graph import BandGraph
from cropland.streaming.flow import above, below, follow, is_number
from cropland.streaming.overlaps import Overlaps
from cropland.streaming.schedule import Schedule, usual_band

__all__ = ["Step", "plan"]

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

    Raises `UnboundedError`, which holds a `Said`, naming what cannot stream.
    """
    program = exported(network, bands, SIZE, any_size=True)
    (image,) = (node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
    flows = follow(program, image)
    output = flows[program.graph.output_node().all_input_nodes[0]]
    if output.scale != 1:
        raise UnboundedError(said("the output is not as large as the image"))
    stride = lcm(*(flow.scale.numerator for flow in flows.values()))
    overlaps = Overlaps(flows, usual_band(stride))
    inside, edge = (BandGraph(program, image, flows, overlaps, period) for period in (None, stride))
    modules = [_Copy(program, graph).module for graph in (inside, edge)]
    largest = ceil(overlaps.largest / SIZE[1])
    return Step(Schedule(stride, output.delay, largest, tuple(edge.masks), tuple(edge.kept)), *modules)


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
        self.module = to.module(to.copies[program.graph.output_node().all_input_nodes[0]])

    def _hold(self, node: Node, made: Node) -> None:
        rows = self.overlaps.rows[node]
        self.to.copies[node] = self.to.keep(node, made, rows) if self.overlaps.kept[node] else made

    def _follow(self, node: Node) -> Node:
        source, rule = next(iter(self.flows[node].rules.items()))
        match rule:
            case rule if rule == SAME or len(self.flows[node].rules) > 1:
                return self._join(node)
            case Window():
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

    def _window(self, node: Node, source: Node, rule: Window) -> Node:
        flow, start = self.flows[node], self._above(node, source)
        stop = below(node, flow, rule, self.flows[source].delay)
        rows = self.to.rows(source, start, stop, flow.fill)
        made = self.to.copy_on_rows(node, {source: rows}, flow.axis)
        if self.to.period and divides_by_known(node, rule):
            made = self._divided(made, self.to.part(source, self.to.known(source), start, stop), rule)
        return made

    def _divided(self, made: Node, known: Node, rule: Window) -> Node:
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
