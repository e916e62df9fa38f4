"""From a kernel's instructions to a function of tensors: compiled once per shape, rows shared among threads."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cropland.lab.kernel.memory import kept_empty

__all__ = ["available", "fits", "separable"]

CHANNELS = 16  # the kernel computes multiples of so many
LEAST_WIDTH = 4  # of an image, in pixels: a tile must fit
TASKS = 4  # per thread, so that a thread that is held up does not hold up the others


def available() -> bool:
    """Whether LLVM is installed (`pip install 'cropland[fused]'`)."""
    return find_spec("llvmlite") is not None


def fits(image: Tensor, channels_out: int) -> bool:
    """Whether `separable` can compute this image: float32 on the CPU, no gradients asked for, not being traced."""
    real = not torch.compiler.is_compiling() and type(image) is Tensor
    here = image.device.type == "cpu" and image.dtype == torch.float32 and not torch.is_grad_enabled()
    sized = image.dim() == 4 and image.shape[3] >= LEAST_WIDTH and image.numel() > 0
    return real and here and sized and image.shape[1] % CHANNELS == 0 and channels_out % CHANNELS == 0


def separable(
    image: Float[Tensor, "batch in height width"],
    filters: Float[Tensor, "in 1 3 3"],
    matrix: Float[Tensor, "out in 1 1"],
    shift: Float[Tensor, " out"],
    *,
    rate: int = 1,
) -> Float[Tensor, "batch out height width"]:
    """relu(shift + matrix (filters * image)) in float32 on the CPU, zeros beyond the edge, without gradients.

    Channels are multiples of 16, the width is at least 4. Output in channels-last order.
    """
    batch, channels_in, height, width = image.shape
    kernel = _kernel(channels_in, len(matrix), rate)
    x = image.contiguous(memory_format=torch.channels_last)
    out = kept_empty(batch, len(matrix), height, width)
    parts = (
        torch.zeros(width, channels_in),
        filters.reshape(channels_in, 9).T.contiguous(),
        _panels(matrix.reshape(len(matrix), channels_in), kernel.panel),
        shift.contiguous(),
    )
    zeros, taps, panels, start = (part.data_ptr() for part in parts)
    rows = max(1, -(-batch * height // (TASKS * torch.get_num_threads())))

    def compute(task: tuple[int, int]) -> None:
        n, y = task
        scratch, last = torch.empty(kernel.strip, channels_in), min(y + rows, height)
        here = (x[n].data_ptr(), zeros, taps, panels, start, out[n].data_ptr(), scratch.data_ptr())
        kernel.run(*here, height, width, y, last)

    list(_threads(torch.get_num_threads()).map(compute, product(range(batch), range(0, height, rows))))
    return out


def _panels(matrix: Float[Tensor, "out in"], panel: int) -> Float[Tensor, " all"]:
    """The matrix as the kernel walks through it: panels of outputs, in each a row of them per input."""
    return torch.cat([part.T.reshape(-1) for part in torch.split(matrix, panel)])


@dataclass(frozen=True)
class _Kernel:
    """A compiled function, how many outputs and pixels it computes at a time; `engine` keeps its code in memory."""

    run: Callable[..., None]
    panel: int
    strip: int
    engine: Any


@cache
def _kernel(channels_in: int, channels_out: int, rate: int) -> _Kernel:
    import llvmlite.binding as llvm  # 20 MB of library: only where the kernel is asked for

    from cropland.lab.kernel.separable import Shape, module

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    lanes, pixels, vectors = _tile(features)
    shape = Shape(channels_in, channels_out, rate, lanes, pixels, vectors)
    parsed = llvm.parse_assembly(str(module(shape)))
    parsed.verify()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 7, *[ctypes.c_int64] * 4)  # lets go of Python's lock
    return _Kernel(signature(engine.get_function_address("run")), lanes * vectors, shape.strip, engine)


def _tile(features: Any) -> tuple[int, int, int]:
    """Lanes of a vector, and a tile (pixels, vectors) whose sums fill the registers but for the factors."""
    if features.get("avx512f"):
        return 16, 4, 4  # 16 of 32 registers, and a strip is a whole number of tiles
    if features.get("avx2"):
        return 8, 4, 2  # 8 of 16
    return 4, 4, 4  # 16 of the 32 of NEON


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "cropland-kernel")
