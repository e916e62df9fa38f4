"""A few words over LLVM's builder, so that a kernel reads as loops over vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

FLOAT, INDEX, POINTER = ir.FloatType(), ir.IntType(64), ir.PointerType()
Body = Callable[[ir.Value, Sequence[ir.Value]], Sequence[ir.Value] | None]


def index(value: int) -> ir.Constant:
    """A constant of the type that counts pixels."""
    return ir.Constant(INDEX, value)


@dataclass(frozen=True)
class Loops:
    """Emits instructions at the end of a function; offsets are summed and count floats."""

    build: ir.IRBuilder
    lanes: int

    @property
    def vector(self) -> ir.VectorType:
        return ir.VectorType(FLOAT, self.lanes)

    def loop(
        self, start: ir.Value, stop: ir.Value, step: int, body: Body, *, carried: Sequence[ir.Value] = ()
    ) -> Sequence[ir.Value]:
        """for (i = start; i < stop; i += step): what `body(i, carried)` returns is carried on, and returned at last.

        Values that are carried live in registers, which is why sums are. An empty range carries nothing on.
        """
        build, before = self.build, self.build.block
        head, then, after = (build.append_basic_block() for _ in range(3))
        build.branch(head)
        build.position_at_end(head)
        counter, *values = (build.phi(value.type) for value in (start, *carried))
        for phi, value in zip((counter, *values), (start, *carried), strict=True):
            phi.add_incoming(value, before)
        build.cbranch(build.icmp_signed("<", counter, stop), then, after)
        build.position_at_end(then)
        changed = body(counter, values) or ()
        following = build.add(counter, index(step))
        for phi, value in zip((counter, *values), (following, *changed), strict=True):
            phi.add_incoming(value, build.block)
        build.branch(head)
        build.position_at_end(after)
        return values

    def at(self, base: ir.Value, *offsets: ir.Value) -> ir.Value:
        """The address of a float."""
        place, *more = offsets
        for offset in more:
            place = self.build.add(place, offset)
        return self.build.gep(base, [place], source_etype=FLOAT)

    def load(self, base: ir.Value, *offsets: ir.Value) -> ir.Value:
        """A vector from memory."""
        return self.build.load(self.at(base, *offsets), typ=self.vector, align=4)

    def store(self, value: ir.Value, base: ir.Value, *offsets: ir.Value) -> None:
        """A vector to memory."""
        self.build.store(value, self.at(base, *offsets), align=4)

    def spread(self, base: ir.Value, *offsets: ir.Value) -> ir.Value:
        """One float from memory in every lane."""
        one = self.build.load(self.at(base, *offsets), typ=FLOAT, align=4)
        nothing, positions = ir.Constant(self.vector, ir.Undefined), ir.VectorType(ir.IntType(32), self.lanes)
        first = self.build.insert_element(nothing, one, ir.Constant(ir.IntType(32), 0))
        return self.build.shuffle_vector(first, nothing, ir.Constant(positions, [0] * self.lanes))

    def multiply_add(self, a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
        """a b + total with one rounding."""
        return self.build.call(self._intrinsic("fma", 3), [a, b, total])

    def not_below_zero(self, value: ir.Value) -> ir.Value:
        """The rectifier."""
        return self.build.call(self._intrinsic("maxnum", 2), [value, self.zero()])

    def zero(self) -> ir.Constant:
        """A vector of zeros."""
        return ir.Constant(self.vector, [0.0] * self.lanes)

    def least(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The smaller of two counts."""
        return self.build.select(self.build.icmp_signed("<", a, b), a, b)

    def largest(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The larger of two counts."""
        return self.build.select(self.build.icmp_signed("<", a, b), b, a)

    def _intrinsic(self, name: str, operands: int) -> ir.Function:
        module, full = self.build.module, f"llvm.{name}.v{self.lanes}f32"
        known = module.globals.get(full)
        return known or ir.Function(module, ir.FunctionType(self.vector, [self.vector] * operands), full)
