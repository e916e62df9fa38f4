"""The device of a training, the order and precision of its numbers, and the size of the micro-batch.

The micro-batch is what fits in memory, measured once, on one chip, before the first step.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psutil
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cropland.data.batches import Batch
from cropland.errors import InputError
from cropland.recipe import Layout, Precision

Network = TypeVar("Network", bound=nn.Module)
# The order of a map's numbers in memory: all channels of a pixel together, or all pixels of a channel.
ORDERS = {"channels_last": torch.channels_last, "channels_first": torch.contiguous_format}
SHARE = 0.5  # of the free memory may be activations; the rest is for gradients, workspaces and the chips
TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of mallopt(3)


def choose_device(name: str | None) -> torch.device:
    """The named device, or CUDA where there is one, else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError("no device '{name}'; there are cpu and cuda", name=name) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda, but this PyTorch sees no CUDA device; leave --device out to use the CPU")
    return device


def place_network(network: Network, device: torch.device, *, layout: Layout = "channels_last") -> Network:
    """The network on a device, its weights in the memory order."""
    # PyTorch's annotations do not know memory_format.
    placed: Network = network.to(device, memory_format=ORDERS[layout])  # type: ignore[call-overload]
    return placed


def place_batch(batch: Batch, device: torch.device, *, layout: Layout) -> Batch:
    """The batch on a device, its image in the memory order."""
    here = batch.to(device)
    return here._replace(image=here.image.contiguous(memory_format=ORDERS[layout]))


@contextmanager
def autocast(device: torch.device, precision: Precision = "auto") -> Iterator[None]:
    """Single precision or bfloat16; `auto` is bfloat16 where the hardware multiplies it."""
    if precision == "float32" or (precision == "auto" and not _multiplies_bfloat16(device)):
        yield
        return
    with torch.autocast(device.type, dtype=torch.bfloat16):
        if device.type == "cpu":
            with _DepthwiseGradients():
                yield
        else:
            yield


class _DepthwiseGradients(TorchFunctionMode):
    """Within, the gradients of depthwise convolutions are computed in single precision.

    On a CPU they take several times as long in bfloat16, and most of a step of a network such as EfficientNet:
    `benchmarks/depthwise_gradients.py`.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # A network may leave autocast for some of its layers; these stay as they are.
        half = torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
        if half and function is torch.conv2d and not kwargs and len(args) == 7 and args[0].dim() == 4:
            image, weight, bias, stride, padding, dilation, groups = args
            if 1 < groups == image.shape[1] and all(isinstance(each, tuple) for each in (stride, padding, dilation)):
                made = _Depthwise.apply(image.bfloat16(), weight, stride, padding, dilation)  # type: ignore[no-untyped-call]
                return made if bias is None else made + bias.to(made.dtype)[:, None, None]
        return function(*args, **(kwargs or {}))


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
    ) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.how = stride, padding, dilation
        return torch.conv2d(image, weight.to(image.dtype), None, stride, padding, dilation, image.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        of_image, of_weight, _bias = torch.ops.aten.convolution_backward(
            *(gradients[0].float(), image.float(), weight.float(), None, *ctx.how, False, (0, 0), image.shape[1]),
            (*ctx.needs_input_grad[:2], False),
        )
        return of_image, of_weight, None, None, None


def _multiplies_bfloat16(device: torch.device) -> bool:
    """True for CUDA from Ampere on, and for CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def micro_batch(network: nn.Module, image: Tensor, *, batch: int) -> int:
    """The largest divisor of `batch` whose kept activations fit in half of the free memory; at least 1.

    `image` is one chip (1, band, height, width) on the device of the network.
    """
    fits = SHARE * free_bytes(image.device) / max(1, kept_bytes(network, image))
    return max(size for size in range(1, batch + 1) if batch % size == 0 and (size <= fits or size == 1))


def kept_bytes(network: nn.Module, image: Tensor) -> int:
    """Bytes of activations that one forward pass keeps for the backward pass, each storage counted once."""
    seen: dict[int, int] = {}

    def note(kept: Tensor) -> Tensor:
        seen[kept.untyped_storage().data_ptr()] = kept.untyped_storage().nbytes()
        return kept

    before = {name: value.clone() for name, value in network.named_buffers()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        network(image)
    # The trial must not change the running statistics.
    for name, value in network.named_buffers():
        value.copy_(before[name])
    return sum(seen.values())


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on the device, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def keep_memory(device: torch.device) -> bool:
    """Let the C library keep freed memory for the next allocation; False where it has no such option.

    The process then holds its peak memory until it ends.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(TRIM_THRESHOLD, -1) and library.mallopt(MMAP_MAX, 0))
