"""How rows move through an exported graph: how many a map has, how late it is, and what it needs of its sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Literal

from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from cropland.language import Message
from cropland.streaming.arguments import argument, name_of, padded
from cropland.streaming.row_rules import (
    SAME,
    Interpolation,
    Reading,
    Rule,
    Transposed,
    UnboundedError,
    WindowRule,
    read,
)

__all__ = ["Fill", "Flow", "above", "below", "follow", "is_number"]

Fill = float | Literal["clamp"] | None  # what an operation takes for rows beyond its map; None: it never looks there
STRIDING = (
    "conv2d",
    "convolution",
    "max_pool2d",
    "max_pool2d_with_indices",
    "avg_pool2d",
)  # leave over what is no step
FILLS = {"zero": 0.0, "minus infinity": float("-inf")}


@dataclass(frozen=True)
class Flow:
    """A map on its way: its axis of rows, image rows per row, rows behind the image, and how it reads each source.

    across: columns of the source per column. spare: rows above what it needs, so long the last one of its source is
    still asked for.
    """

    axis: int
    scale: Fraction
    delay: int
    rules: Mapping[Node, Rule] = field(default_factory=dict)
    fill: Fill = None
    across: Fraction | int = 1
    spare: int = 0


def follow(program: ExportedProgram, image: Node) -> dict[Node, Flow]:
    """The flow of every map that depends on the image, in order. Raises `UnboundedError`."""
    flows, axes, numbers = {image: Flow(2, Fraction(1), 0)}, ({image: 2}, {image: 3}), set[Node]()
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        sources = [source for source in node.all_input_nodes if source in flows]
        if is_number(node):
            numbers.add(node)
        elif sources:
            flows[node] = _flow(node, *_read(node, axes), {source: flows[source] for source in sources})
        elif not numbers.isdisjoint(node.all_input_nodes):
            raise UnboundedError(
                Message("{name} makes values that belong to fixed places of the image", name=node.name)
            )
    return flows


def is_number(node: Node) -> bool:
    """Whether a node is a length of the image, or made of one."""
    return not isinstance(node.meta["val"], Tensor | tuple | list)


def above(flow: Flow, source: Node, behind: int, overlap: int) -> int:
    """Rows above its new ones that a source, so many `behind` the image, must hold for a map to have `overlap` such
    rows; below 0: new rows that the map skips."""
    first = flow.delay + overlap
    match flow.rules[source]:
        case WindowRule() as rule:
            return first * rule.stride + rule.before - behind
        case Transposed() as rule:
            return (rule.kernel - 1) * rule.dilation // rule.step + -(-overlap // rule.step)
        case Interpolation() as rule:
            return -behind - floor(rule.shift - first * rule.stride)


def below(node: Node, flow: Flow, rule: WindowRule, behind: int) -> int | None:
    """Where the rows of a source end that a map needs, counted from the last one; None: with the last one."""
    reach = (rule.kernel - 1) * rule.dilation
    last = behind + 1 + reach - rule.before - (flow.delay + 1) * rule.stride  # at most 0: rows for the next step
    is_left_over = name_of(node) in STRIDING and -last < rule.stride and not argument(node, "ceil_mode")
    return None if is_left_over else last or None


def _read(node: Node, axes: Sequence[dict[Node, int]]) -> tuple[Reading, Reading]:
    try:
        rows, columns = (read(node, known, spatial=spatial) for spatial, known in enumerate(axes))
    except (TypeError, ValueError) as error:  # a number of the graph in the place of a constant
        raise UnboundedError(Message("{name} depends on the size of the image", name=node.name)) from error
    for known, reading in zip(axes, (rows, columns), strict=True):
        known[node] = reading.axis
    return rows, columns


def _flow(node: Node, rows: Reading, columns: Reading, sources: Mapping[Node, Flow]) -> Flow:
    source, flow = next(iter(sources.items()))
    rule, across = rows.rules[source], columns.rules[source].stride
    if len({each.scale for each in sources.values()}) > 1:
        raise UnboundedError(Message("{name} joins maps of different scales", name=node.name))
    if rule == SAME or len(sources) > 1:  # side by side: what is ahead waits for what is behind
        return Flow(rows.axis, flow.scale, max(each.delay for each in sources.values()), rows.rules)
    fill = _fill(node, rule)
    delay, scale = _delay(node, rule, flow.delay, fill), flow.scale * rule.stride
    spare = padded(node, flow.axis)[1] if rule.beyond == "replicate" else 0
    return Flow(rows.axis, scale, delay, rows.rules, fill, across, spare)


def _delay(node: Node, rule: Rule, behind: int, fill: Fill) -> int:
    match rule:
        case Transposed():
            return behind * rule.step + rule.before
        case Interpolation():
            factor = 1 / rule.stride
            if factor.denominator != 1:
                raise UnboundedError(
                    Message("{name} stretches by {factor}, no whole number", name=node.name, factor=factor)
                )
            reached = factor * (behind + rule.shift)
            return max(0, ceil(reached + factor) - 1 if rule.linear else floor(reached))
        case WindowRule():
            reach = (rule.kernel - 1) * rule.dilation
            least = behind if fill == "clamp" else 0  # rows above the map are its first one, which must be there
            return max(least, ceil(Fraction(reach - rule.before + behind + 1, rule.stride)) - 1)


def _fill(node: Node, rule: Rule) -> Fill:
    """What an operation takes for rows beyond its map."""
    if isinstance(rule, Transposed):
        return 0.0
    if isinstance(rule, Interpolation):
        return "clamp"
    if name_of(node) == "avg_pool2d":
        if argument(node, "ceil_mode") and rule.before and argument(node, "count_include_pad"):
            raise UnboundedError(Message("{name} divides by another number at the last row", name=node.name))
        return 0.0
    if name_of(node) in ("conv2d", "convolution") and rule.before == 0 and argument(node, "padding") != "same":
        return None  # it ends with its map
    match rule.beyond:
        case "nothing":
            return None
        case "replicate":
            return "clamp"
        case "reflect":
            raise UnboundedError(Message("{name} mirrors the edge", name=node.name))
    return FILLS[rule.beyond] if rule.beyond in FILLS else float(rule.beyond)
