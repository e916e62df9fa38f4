"""How far a network sees, by interval arithmetic through its exported graph (gradients underestimate)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node

from cropland.language import Message
from cropland.streaming.flow import stride_of, walk
from cropland.streaming.program import UnboundedError, followable, image_of, output_of
from cropland.streaming.row_rules import Reading, Rule

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
    program = followable(network, bands, size)
    return [_Chain.of(program, spatial, length) for spatial, length in enumerate(size)]


@dataclass(frozen=True)
class _Chain:
    """How a network reads an image of one size along one axis, in the order of computation."""

    length: int
    image: Node
    output: Node
    readings: dict[Node, Reading]
    stride: int

    @staticmethod
    def of(program: ExportedProgram, spatial: int, length: int) -> _Chain:
        maps, image = list(walk(program, spatial=spatial)), image_of(program)
        stride = stride_of(program, {image: Fraction(1)} | {node: scale for node, _reading, scale in maps})
        return _Chain(length, image, output_of(program), {node: reading for node, reading, _scale in maps}, stride)

    @property
    def moves(self) -> list[tuple[str, Rule]]:
        """Operations that are more than row by row; the same at every size, or the output shifts with the size."""
        each = ((node.name, rule) for node, reading in self.readings.items() for rule in reading.rules.values())
        return [(name, rule) for name, rule in each if rule.stride != 1 or rule.rows(0, 0) != (0, 0)]

    def radius(self) -> int:
        return max(self._reach(row) for row in range(self.stride))

    def _reach(self, row: int) -> int:
        """How far the input rows that output row `row` needs lie from it, on a plane without edges."""
        needed = {self.output: (row, row)}
        for node, reading in reversed(self.readings.items()):
            for source, rule in reading.rules.items() if node in needed else ():
                first, last = rule.rows(*needed[node])
                before, after = needed.get(source, (first, last))
                needed[source] = (min(first, before), max(last, after))
        first, last = needed[self.image]
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
            Message(
                "the network differs between images of {one} and {other} pixels", one=one.length, other=other.length
            )
        )
