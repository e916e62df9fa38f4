"""A separable convolution in one pass: the depthwise result of some pixels stays in the first caches.

For every strip of a row: filter its pixels within each channel into a small scratch, then multiply that by the
pointwise matrix, tile by tile, with all sums of a tile in registers, and write the rectified result. Layer by layer
the depthwise result would travel to memory and back, and two libraries would do what one loop nest does here.
Source: Qararyah et al. 2024, doi:10.1145/3677333.3678153, for GPUs; the tiling is that of Goto and van de Geijn
2008, doi:10.1145/1356052.1356053.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from llvmlite import ir

from cropland.lab.kernel.loops import INDEX, POINTER, Loops, index

TAPS = tuple(product(range(3), range(3)))


@dataclass(frozen=True)
class Shape:
    """What a kernel is compiled for: channels (multiples of 16), dilation, and what the processor offers.

    A tile of `pixels` x `vectors` sums fills the registers; a strip is `strip` pixels of a row.
    """

    channels_in: int
    channels_out: int
    rate: int
    lanes: int
    pixels: int
    vectors: int
    strip: int = 64


@dataclass(frozen=True)
class _Arguments:
    """The arguments of the kernel, and the strip that is being computed."""

    loops: Loops
    shape: Shape
    rows: Sequence[ir.Value]  # the three input rows: above, here, below
    filters: ir.Value
    matrix: ir.Value
    shift: ir.Value
    out: ir.Value  # the output row
    scratch: ir.Value
    width: ir.Value


def module(shape: Shape) -> ir.Module:
    """The kernel `run(image, zeros, filters, matrix, shift, out, scratch, height, width, first, last)`.

    image (height, width, in), filters (9, in), matrix in panels (see `compile.py`), shift (out), out (height, width,
    out), zeros (width, in), scratch (strip, in); computed are the rows `first` to `last` - 1.
    """
    made = ir.Module()
    pointers, counts = [POINTER] * 7, [INDEX] * 4
    function = ir.Function(made, ir.FunctionType(ir.VoidType(), [*pointers, *counts]), "run")
    for argument in function.args[:7]:
        argument.add_attribute("noalias")
    image, zeros, filters, matrix, shift, out, scratch, height, width, first, last = function.args
    build = ir.IRBuilder(function.append_basic_block())
    loops = Loops(build, shape.lanes)

    def row(y: ir.Value, _: Sequence[ir.Value]) -> None:
        around = [_row(loops, image, zeros, y, move, height, width, shape) for move in (-shape.rate, 0, shape.rate)]
        there = loops.at(out, build.mul(build.mul(y, width), index(shape.channels_out)))
        frame = _Arguments(loops, shape, around, filters, matrix, shift, there, scratch, width)
        loops.loop(index(0), width, shape.strip, lambda x, _: _strip(frame, x))

    loops.loop(first, last, 1, row)
    build.ret_void()
    return made


def _row(
    loops: Loops,
    image: ir.Value,
    zeros: ir.Value,
    y: ir.Value,
    move: int,
    height: ir.Value,
    width: ir.Value,
    shape: Shape,
) -> ir.Value:
    """The input row `y` + `move`; beyond the image zeros."""
    build, at = loops.build, loops.build.add(y, index(move))
    inside = build.icmp_unsigned("<", at, height)  # a negative row is a huge unsigned one
    offset = build.mul(build.mul(at, width), index(shape.channels_in))
    return build.select(inside, loops.at(image, offset), zeros)


def _strip(frame: _Arguments, x: ir.Value) -> None:
    """From `x` on, or from further left where less than a tile of the row would be left."""
    x = frame.loops.least(x, frame.loops.build.sub(frame.width, index(frame.shape.pixels)))
    count = frame.loops.least(index(frame.shape.strip), frame.loops.build.sub(frame.width, x))
    _depthwise(frame, x, count)
    panels = range(0, frame.shape.channels_out, frame.shape.lanes * frame.shape.vectors)
    for panel in panels:
        _pointwise(frame, x, count, panel)


def _depthwise(frame: _Arguments, x: ir.Value, count: ir.Value) -> None:
    """Filter `count` pixels from `x` on into the scratch, some channels at a time; the taps stay in registers."""
    loops, build, shape = frame.loops, frame.loops.build, frame.shape
    left = loops.largest(index(0), loops.least(count, build.sub(index(shape.rate), x)))
    right = loops.largest(left, loops.least(count, build.sub(build.sub(frame.width, index(shape.rate)), x)))

    def channels(c: ir.Value, _: Sequence[ir.Value]) -> None:
        taps = [loops.load(frame.filters, c, index(tap * shape.channels_in)) for tap in range(9)]
        for start, stop, inside in ((index(0), left, False), (left, right, True), (right, count, False)):
            loops.loop(start, stop, 1, lambda i, _, inside=inside: _filter(frame, x, i, c, taps, inside=inside))  # type: ignore[misc]

    loops.loop(index(0), index(shape.channels_in), shape.lanes, channels)


def _filter(
    frame: _Arguments, x: ir.Value, i: ir.Value, c: ir.Value, taps: Sequence[ir.Value], *, inside: bool
) -> None:
    """One pixel of some channels; near the side edges (not `inside`) columns beyond the image count as zero."""
    loops, build, shape = frame.loops, frame.loops.build, frame.shape
    totals = [loops.zero() for _ in range(3)]  # one per row, so that no sum waits for another
    for (row, column), tap in zip(TAPS, taps, strict=True):
        at = build.add(build.add(x, i), index((column - 1) * shape.rate))
        if not inside:
            known = build.icmp_unsigned("<", at, frame.width)
            at, tap = build.select(known, at, index(0)), build.select(known, tap, loops.zero())
        value = loops.load(frame.rows[row], build.mul(at, index(shape.channels_in)), c)
        totals[row] = loops.multiply_add(value, tap, totals[row])
    total = build.fadd(build.fadd(totals[0], totals[1]), totals[2])
    loops.store(total, frame.scratch, build.mul(i, index(shape.channels_in)), c)


def _pointwise(frame: _Arguments, x: ir.Value, count: ir.Value, panel: int) -> None:
    """Multiply the scratch by one panel of the matrix; the last tile overlaps the one before it."""
    loops, build, shape = frame.loops, frame.loops.build, frame.shape
    vectors = min(shape.vectors, (shape.channels_out - panel) // shape.lanes)
    matrix = loops.at(frame.matrix, index(panel * shape.channels_in))
    starts = [loops.load(frame.shift, index(panel + v * shape.lanes)) for v in range(vectors)]

    def tile(i: ir.Value, _: Sequence[ir.Value]) -> None:
        i = loops.least(i, build.sub(count, index(shape.pixels)))

        def add(k: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
            row = build.mul(k, index(vectors * shape.lanes))
            weights = [loops.load(matrix, row, index(v * shape.lanes)) for v in range(vectors)]
            values = [_pixel(frame, i, p, k) for p in range(shape.pixels)]
            pairs = product(values, weights)
            return [loops.multiply_add(v, w, s) for (v, w), s in zip(pairs, sums, strict=True)]

        sums = loops.loop(index(0), index(shape.channels_in), 1, add, carried=starts * shape.pixels)
        for number, total in enumerate(sums):
            p, v = divmod(number, vectors)
            place = build.mul(build.add(build.add(x, i), index(p)), index(shape.channels_out))
            loops.store(loops.not_below_zero(total), frame.out, place, index(panel + v * shape.lanes))

    loops.loop(index(0), count, shape.pixels, tile)


def _pixel(frame: _Arguments, i: ir.Value, p: int, k: ir.Value) -> ir.Value:
    build = frame.loops.build
    place = build.mul(build.add(i, index(p)), index(frame.shape.channels_in))
    return frame.loops.spread(frame.scratch, place, k)
