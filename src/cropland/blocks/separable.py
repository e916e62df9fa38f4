"""The depthwise-separable convolution."""

from importlib import import_module
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cropland.catalog import find

__all__ = ["Separable"]

Execution = Literal["layers", "fused"]


class Separable(nn.Module):
    """A k x k convolution within each channel, then a 1 x 1 convolution across channels, a normalisation, and a
    rectifier.

    Parameters k^2 I + I O instead of k^2 I O, and one activation more to write and read. The size is kept at stride 1
    and halved, rounding up, at stride 2.

    `execution` is `layers`, one after the other, or `fused`: both in one pass where that is possible (inference on the
    CPU in float32, 3 x 3, stride 1, batch norm, channels in multiples of 16), equal but for rounding.
    Source: Chollet 2017, arXiv:1610.02357; Howard et al. 2017, arXiv:1704.04861.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        rate: int = 1,
        norm: str = "batch_norm",
        execution: Execution = "layers",
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels_in,
            channels_in,
            kernel,
            stride,
            padding=rate * (kernel // 2),
            dilation=rate,
            groups=channels_in,
            bias=False,
        )
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.norm = find("blocks", norm)(channels_out)
        self.activation = nn.ReLU(inplace=True)
        self.execution = execution

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch out rows columns"]:
        if self.execution == "fused" and self.can_be_fused(x):
            return self._fused(x)
        y: Tensor = self.activation(self.norm(self.pointwise(self.depthwise(x))))
        return y

    def can_be_fused(self, x: Tensor) -> bool:
        """Whether this input could be computed in one pass; torch that traces, trains or lies elsewhere goes on in
        layers."""
        plain = self.depthwise.kernel_size == (3, 3) and self.depthwise.stride == (1, 1)
        settled = isinstance(self.norm, nn.BatchNorm2d) and not self.norm.training
        if torch.compiler.is_compiling() or not (plain and settled):
            return False
        return bool(_kernel().fits(x, len(self.pointwise.weight)))

    def _fused(self, x: Tensor) -> Tensor:
        norm = self.norm
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        matrix, shift = self.pointwise.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
        y: Tensor = _kernel().separable(x, self.depthwise.weight, matrix, shift, rate=self.depthwise.dilation[0])
        return y


def _kernel() -> Any:
    # Named and not imported, since imports go down only: the kernel belongs to the lab, which measures it and lies
    # above. `torch.compile` cannot follow this call, and is never led to it.
    return import_module("cropland.lab.kernel.compile")
