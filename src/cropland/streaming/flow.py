"""How rows move through an exported graph: how many a map has, how late it is, and what it needs of its sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor, lcm
from typing import Literal

from torch.export import ExportedProgram
from torch.fx import Node

from cropland.language import Message
from cropland.streaming.arguments import padded
from cropland.streaming.program import UnboundedError, argument, image_of, is_number, name_of, output_of
from cropland.streaming.row_rules import (
    SAME,
    Interpolation,
    Reading,
    Rule,
    Transposed,
    WindowRule,
    read,
)

__all__ = ["Fill", "Flow", "above", "below", "follow", "stride_of", "walk"]

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


def follow(program: ExportedProgram) -> dict[Node, Flow]:
    """The flow of the image and of every map that depends on it, in order. Raises `UnboundedError`."""
    image = image_of(program)
    flows, columns = {image: Flow(2, Fraction(1), 0)}, {image: 3}
    for node, rows, scale in walk(program, spatial=0):
        across = _read(node, columns, spatial=1)
        columns[node] = across.axis
        flows[node] = _flow(node, rows, across, scale, flows)
    return flows


def walk(program: ExportedProgram, *, spatial: int) -> Iterator[tuple[Node, Reading, Fraction]]:
    """Every map that depends on the image, in order: how it is read along rows (`spatial` 0) or columns (1), and image
    rows per row of it.

    Raises `UnboundedError`.
    """
    image = image_of(program)
    axes, scales, numbers = {image: 2 + spatial}, {image: Fraction(1)}, set[Node]()
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        if is_number(node) and program.range_constraints:  # without them it is an assertion, which has no rule
            numbers.add(node)
        elif not axes.keys().isdisjoint(node.all_input_nodes):
            reading = _read(node, axes, spatial=spatial)
            axes[node], scales[node] = reading.axis, _scale(node, reading, scales)
            yield node, reading, scales[node]
        elif not numbers.isdisjoint(node.all_input_nodes):
            raise UnboundedError(
                Message("{name} makes values that belong to fixed places of the image", name=node.name)
            )


def stride_of(program: ExportedProgram, scales: Mapping[Node, Fraction]) -> int:
    """The least shift of the image that shifts every map by whole rows, by image rows per row of each.

    Raises `UnboundedError` where the output is not as large as the image.
    """
    if scales.get(output_of(program)) != 1:
        raise UnboundedError(Message("the output is not as large as the image"))
    return lcm(*(scale.numerator for scale in scales.values()))


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


def _read(node: Node, axes: Mapping[Node, int], *, spatial: int) -> Reading:
    try:
        return read(node, axes, spatial=spatial)
    except (TypeError, ValueError) as error:  # a number of the graph in the place of a constant
        raise UnboundedError(Message("{name} depends on the size of the image", name=node.name)) from error


def _scale(node: Node, reading: Reading, scales: Mapping[Node, Fraction]) -> Fraction:
    found = {scales[source] * rule.stride for source, rule in reading.rules.items()}
    if len(found) > 1:
        told = ", ".join(map(str, sorted(found)))
        raise UnboundedError(Message("{name} joins maps of different scales ({scales})", name=node.name, scales=told))
    return found.pop()


def _flow(node: Node, rows: Reading, columns: Reading, scale: Fraction, flows: Mapping[Node, Flow]) -> Flow:
    source, rule = next(iter(rows.rules.items()))
    if rule == SAME or len(rows.rules) > 1:  # side by side: what is ahead waits for what is behind
        return Flow(rows.axis, scale, max(flows[each].delay for each in rows.rules), rows.rules)
    fill = _fill(node, rule)
    delay = _delay(node, rule, flows[source].delay, fill)
    spare = padded(node, flows[source].axis)[1] if rule.beyond == "replicate" else 0
    return Flow(rows.axis, scale, delay, rows.rules, fill, columns.rules[source].stride, spare)


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
            raise UnboundedError(Message("{name} divides by a different number at the last row", name=node.name))
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
