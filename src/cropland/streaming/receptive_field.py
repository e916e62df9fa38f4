"""How far a network sees, by interval arithmetic through its exported graph (gradients underestimate)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from torch import nn
from torch.fx import Graph, Node

from cropland.language import Message
from cropland.streaming.row_rules import Reading, Rule, UnboundedError, exported, read

__all__ = ["Field", "field"]


SIZES = ((256, 264), (257, 251))  # of several remainders by any stride


@dataclass(frozen=True)
class Field:
    """Output pixel (y, x) depends on no input pixel further than `radius` rows or columns away.

    A shift of the image by `stride` pixels shifts the output by as many. `radius` is None where the field has no bound,
    and `reason` says why.
    """

    radius: int | None
    stride: int
    reason: str | None = None


@dataclass(frozen=True)
class _Chain:
    """How a network reads an image of one size along one axis, in the order of computation."""

    length: int
    image: Node
    output: Node
    readings: dict[Node, Reading]
    scales: dict[Node, Fraction]  # input rows per row of each map

    @property
    def stride(self) -> int:
        return lcm(*(scale.numerator for scale in self.scales.values()))

    @property
    def moves(self) -> list[tuple[str, Rule]]:
        """Operations that are more than row by row; the same at every size, or the output shifts with the size."""
        each = ((node.name, rule) for node, reading in self.readings.items() for rule in reading.rules.values())
        return [(name, rule) for name, rule in each if rule.stride != 1 or rule.rows(0, 0) != (0, 0)]

    def radius(self) -> int:
        return max(_reach(self, row) for row in range(self.stride))


def field(network: nn.Module, bands: int) -> Field:
    """The receptive field of a network in evaluation mode that takes (1, bands, height, width).

    It is exported at two sizes and must read both alike: else no shift and no stride would be safe.
    """
    stride = 1
    try:
        chains = [_chains(network, bands, size) for size in SIZES]
        stride = lcm(*(chain.stride for pair in chains for chain in pair))
        for one, other in zip(*chains, strict=True):
            _check_alike(one, other)
    except UnboundedError as error:
        return Field(None, stride, error.args[0])
    return Field(max(chain.radius() for pair in chains for chain in pair), stride)


def _chains(network: nn.Module, bands: int, size: tuple[int, int]) -> list[_Chain]:
    graph = exported(network, bands, size).graph
    return [_chain(graph, spatial, size[spatial]) for spatial in (0, 1)]


def _chain(graph: Graph, spatial: int, length: int) -> _Chain:
    image = [node for node in graph.nodes if node.op == "placeholder"][-1]
    axes, scales = {image: 2 + spatial}, {image: Fraction(1)}
    readings: dict[Node, Reading] = {}
    for node in graph.nodes:
        if node.op != "call_function" or not any(source in axes for source in node.all_input_nodes):
            continue
        readings[node] = reading = read(node, axes, spatial=spatial)
        axes[node], scales[node] = reading.axis, _scale(node, reading, scales)
    output = graph.output_node().all_input_nodes[0]
    if scales.get(output) != 1:
        raise UnboundedError(Message("the output is not as large as the image"))
    return _Chain(length, image, output, readings, scales)


def _scale(node: Node, reading: Reading, scales: dict[Node, Fraction]) -> Fraction:
    found = {scales[source] * rule.stride for source, rule in reading.rules.items()}
    if len(found) > 1:
        scales_found = ", ".join(map(str, sorted(found)))
        raise UnboundedError(
            Message("{name} joins maps of different scales ({scales})", name=node.name, scales=scales_found)
        )
    return found.pop()


def _reach(chain: _Chain, row: int) -> int:
    """How far the input rows that output row `row` needs lie from it, on a plane without edges."""
    needed = {chain.output: (row, row)}
    for node, reading in reversed(chain.readings.items()):
        for source, rule in reading.rules.items() if node in needed else ():
            first, last = rule.rows(*needed[node])
            before, after = needed.get(source, (first, last))
            needed[source] = (min(first, before), max(last, after))
    first, last = needed[chain.image]
    return max(row - first, last - row)


def _check_alike(one: _Chain, other: _Chain) -> None:
    for (name, rule), (_name, changed) in zip(one.moves, other.moves, strict=False):
        if rule != changed:
            raise UnboundedError(
                Message(
                    "{name} shifts or stretches with the size of the image ({one} or {other} pixels)",
                    name=name,
                    one=one.length,
                    other=other.length,
                )
            )
    if len(one.moves) != len(other.moves):
        raise UnboundedError(
            Message("the network is another at {one} pixels than at {other}", one=one.length, other=other.length)
        )
