"""Per operation of an exported graph: which input rows an output row needs, and what lies beyond the edge.

Columns obey the same rules: a "row" is an index along whichever axis is being read. An operation without a rule, or one
that looks at more rows the larger the image is, raises `UnboundedError` with its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, prod
from typing import Any

import torch
from torch.fx import Node

from cropland.language import Message
from cropland.streaming.program import UnboundedError, argument, name_of, shape

__all__ = ["SAME", "Interpolation", "Reading", "Rule", "Transposed", "WindowRule", "read"]


@dataclass(frozen=True)
class WindowRule:
    """Output row y sees input rows y stride - before + {0, 1 .. kernel - 1} dilation: convolution, pooling, crop."""

    kernel: int = 1
    stride: int = 1  # input rows per output row
    before: int = 0
    dilation: int = 1
    beyond: str = "nothing"  # what the operation takes for rows beyond the edge of its own input

    def rows(self, first: int, last: int) -> tuple[int, int]:
        """The first and last input row that output rows `first` to `last` need, on a plane without edges."""
        reach = (self.kernel - 1) * self.dilation
        return first * self.stride - self.before, last * self.stride - self.before + reach


@dataclass(frozen=True)
class Transposed:
    """Input row i reaches output rows i step - before + {0 .. kernel - 1} dilation; at gaps `rows` errs wide."""

    kernel: int
    step: int
    before: int = 0
    dilation: int = 1
    beyond: str = "zero"

    @property
    def stride(self) -> Fraction:
        """Input rows per output row."""
        return Fraction(1, self.step)

    def rows(self, first: int, last: int) -> tuple[int, int]:
        """As of `WindowRule`."""
        reach = (self.kernel - 1) * self.dilation
        return -((reach - first - self.before) // self.step), (last + self.before) // self.step


@dataclass(frozen=True)
class Interpolation:
    """Output row y takes the input row at or before y stride + shift; if `linear`, also the one after it."""

    stride: Fraction
    shift: Fraction
    linear: bool
    beyond: str = "clamp"

    def rows(self, first: int, last: int) -> tuple[int, int]:
        """As of `WindowRule`."""
        end = last * self.stride + self.shift
        return floor(first * self.stride + self.shift), ceil(end) if self.linear else floor(end)


Rule = WindowRule | Transposed | Interpolation
SAME = WindowRule()


@dataclass(frozen=True)
class Reading:
    """How one operation reads the image: the row axis of its output, and a rule per input that depends on the image."""

    axis: int
    rules: Mapping[Node, Rule]


def read(node: Node, axes: Mapping[Node, int], *, spatial: int) -> Reading:
    """How a node of an exported graph reads the image along rows (`spatial` 0) or columns (1).

    `axes` names the row axis of every earlier node that depends on the image. Raises `UnboundedError`.
    """
    call = _Call(node, axes, spatial)
    if call.name in RULES:
        return RULES[call.name](call)
    if torch.Tag.pointwise in getattr(node.target, "tags", ()):
        return _side_by_side(call)
    raise UnboundedError(Message("{name} has no row rule", name=call.name))


class _Call:
    """One operation with its arguments by name."""

    def __init__(self, node: Node, axes: Mapping[Node, int], spatial: int) -> None:
        self.node, self.axes, self.spatial = node, axes, spatial
        self.inputs = [source for source in node.all_input_nodes if source in axes]
        self.source = self.inputs[0]
        self.axis, self.shape = axes[self.source], shape(self.source)
        self.name = name_of(node)

    def __getitem__(self, name: str) -> Any:
        return argument(self.node, name)

    def pick(self, name: str, default: int) -> int:
        """This axis' entry of an argument that has one per axis, or one for both."""
        value = self[name]
        return int(value[self.spatial % len(value)]) if value else default

    def along(self, name: str = "dim") -> list[int]:
        """The axes that an argument names, counted from the front; all of them if it names none."""
        value = range(len(self.shape)) if self[name] in (None, []) else self[name]
        return [dim % len(self.shape) for dim in ([value] if isinstance(value, int) else value)]

    def by(self, rule: Rule, axis: int | None = None) -> Reading:
        return Reading(self.axis if axis is None else axis, {self.source: rule})


def _same(call: _Call) -> Reading:
    return call.by(SAME)


def _whole(call: _Call) -> Reading:
    raise UnboundedError(Message("{name} looks at the whole image", name=call.name))


def _side_by_side(call: _Call) -> Reading:
    """Row by row: all inputs equally tall, but for constants that are the same in every row."""
    from_last = {len(shape(node)) - call.axes[node] for node in call.inputs}
    rows = {shape(node)[call.axes[node]] for node in call.inputs}
    if len(from_last) > 1 or len(rows) > 1 or (call["dim"] is not None and call.axis in call.along()):
        raise UnboundedError(Message("{name} joins maps of different sizes or places", name=call.name))
    back = from_last.pop()
    for node in set(call.node.all_input_nodes) - set(call.inputs):
        if len(shape(node)) >= back and shape(node)[-back] > 1:
            raise UnboundedError(
                Message("{name} joins values that belong to fixed places of the image", name=call.name)
            )
    return Reading(len(shape(call.node)) - back, dict.fromkeys(call.inputs, SAME))


def _convolution(call: _Call) -> Reading:
    kernel, stride, dilation = shape(call["weight"])[2 + call.spatial], call.pick("stride", 1), call.pick("dilation", 1)
    named = {"same": (kernel - 1) * dilation // 2, "valid": 0}
    before = named[call["padding"]] if isinstance(call["padding"], str) else call.pick("padding", 0)
    if call["transposed"] or call.name == "conv_transpose2d":
        return call.by(Transposed(kernel, stride, before, dilation))
    return call.by(WindowRule(kernel, stride, before, dilation, "zero"))


def _pool(call: _Call) -> Reading:
    kernel = call.pick("kernel_size", 1)
    beyond = "minus infinity" if "max" in call.name else "zero" if call["count_include_pad"] else "nothing"
    stride, before, dilation = call.pick("stride", kernel), call.pick("padding", 0), call.pick("dilation", 1)
    return call.by(WindowRule(kernel, stride, before, dilation, beyond))


def _upsample(call: _Call) -> Reading:
    before, after = (shape(node)[2 + call.spatial] for node in (call.source, call.node))
    if call["align_corners"] and before != after:
        raise UnboundedError(Message("{name} with align_corners stretches with the size of the image", name=call.name))
    factor = (call["scale_factors"] or [call["scales_h"], call["scales_w"]])[call.spatial]
    if not factor and after % before:
        values = {"name": call.name, "before": before, "after": after}
        raise UnboundedError(
            Message("{name} stretches with the size of the image ({before} to {after} pixels)", **values)
        )
    stride = 1 / Fraction(factor).limit_denominator(1024) if factor else Fraction(before, after)
    linear = "bilinear" in call.name
    shift = (stride - 1) / 2 if linear else stride / 2 if "exact" in call.name else Fraction(0)
    return call.by(Interpolation(stride, shift, linear))


def _pad(call: _Call) -> Reading:
    from_last = 2 * (len(call.shape) - 1 - call.axis)  # pads are listed from the last axis
    before, after = [*call["pad"], 0, 0, 0, 0][from_last : from_last + 2]
    beyond = call["mode"] or "constant"
    if beyond == "circular" or not (before or after):
        return _whole(call) if before or after else call.by(SAME)
    return call.by(WindowRule(before=before, beyond=f"{call['value'] or 0:g}" if beyond == "constant" else beyond))


def _slice(call: _Call) -> Reading:
    if call.along() != [call.axis]:
        return call.by(SAME)
    start = call["start"] or 0
    return call.by(WindowRule(stride=call["step"], before=-(start if start >= 0 else start + call.shape[call.axis])))


def _off_axis(call: _Call) -> Reading:
    """Operations along some axes, which work row by row if rows are none of these."""
    last = {"linear": 1, "layer_norm": len(call["normalized_shape"] or ())}.get(call.name.removeprefix("native_"), 0)
    dims = range(len(call.shape) - last, len(call.shape)) if last else call.along()
    if call.axis in dims:
        return _whole(call)
    dropped = call["keepdim"] is False or call.name in ("select", "unbind")
    return call.by(SAME, call.axis - sum(dim < call.axis for dim in dims) * dropped)


def _permute(call: _Call) -> Reading:
    return call.by(SAME, call.along("dims").index(call.axis))


def _transpose(call: _Call) -> Reading:
    one, other = *call.along("dim0"), *call.along("dim1")
    return call.by(SAME, {one: other, other: one}.get(call.axis, call.axis))


def _view(call: _Call) -> Reading:
    # A change of shape is harmless if the rows stay an axis of their own.
    for axis, rows in enumerate(shape(call.node)):
        if rows == call.shape[call.axis] and prod(shape(call.node)[:axis]) == prod(call.shape[: call.axis]):
            return call.by(SAME, axis)
    raise UnboundedError(Message("{name} mixes rows with other axes", name=call.name))


_TABLE: tuple[tuple[Callable[[_Call], Reading], str], ...] = (  # those of torch's own tag `pointwise` need no entry
    (_convolution, "conv2d convolution conv_transpose2d"),
    (_pool, "max_pool2d max_pool2d_with_indices avg_pool2d"),
    (_upsample, "upsample_nearest2d _upsample_nearest_exact2d upsample_nearest_exact2d upsample_bilinear2d"),
    (_pad, "pad constant_pad_nd"),
    (_slice, "slice"),
    (_side_by_side, "cat copy slice_scatter expand"),
    (_off_axis, "mean sum amax amin max min var std var_mean softmax _softmax log_softmax _log_softmax cumsum"),
    (_off_axis, "linear layer_norm native_layer_norm split split_with_sizes chunk unbind select linalg_vector_norm"),
    (_whole, "adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d matmul bmm scaled_dot_product_attention"),
    (_whole, "group_norm native_group_norm instance_norm _native_batch_norm_legit"),
    (_same, "batch_norm _native_batch_norm_legit_no_training hardswish prelu _prelu_kernel dropout getitem"),
    (_same, "contiguous to _to_copy detach alias"),
    (_permute, "permute"),
    (_transpose, "transpose"),
    (_view, "view _unsafe_view reshape flatten unflatten squeeze unsqueeze"),
)
RULES = {name: rule for rule, names in _TABLE for name in names.split()}
