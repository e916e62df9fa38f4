"""The memory of a training: its device, the order and precision of numbers, and what a forward pass keeps for the
backward pass."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import psutil
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from cropland.data.batches import Batch
from cropland.errors import InputError
from cropland.recipe import Layout, Precision

Network = TypeVar("Network", bound=nn.Module)
# The order of a map's numbers in memory: all channels of a pixel together, or all pixels of a channel.
ORDERS = {"channels_last": torch.channels_last, "channels_first": torch.contiguous_format}
SHARE = 0.5  # of the free memory may be activations; the rest is for gradients, workspaces and the chips
# What PyTorch, oneDNN and C++ say on the CPU.
NO_MEMORY = (
    *("not enough memory", "can't allocate memory", "could not create a memory", "could not create a primitive"),
    *("bad_alloc", "out of memory"),
)
PARTS, PROBE = 8, 64
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
    if precision == "float32" or (precision == "auto" and not multiplies_bfloat16(device)):
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


def multiplies_bfloat16(device: torch.device) -> bool:
    """True for CUDA from Ampere on, and for CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def kept_bytes(network: nn.Module, image: Tensor) -> int:
    """Bytes of activations that one forward pass keeps for the backward pass, each storage counted once."""
    seen: dict[int, int] = {}

    def note(kept: Tensor) -> Tensor:
        seen[kept.untyped_storage().data_ptr()] = kept.untyped_storage().nbytes()
        return kept

    with unmoved(network), torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        network(image)
    return sum(seen.values())


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on the device, in bytes; on the CPU within the limits of control group and process
    too."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(int(psutil.virtual_memory().available), *_limits())


def _limits() -> Iterator[int]:
    """What the limits of Linux still leave, each in bytes: those of the control groups, and that of the data of this
    process."""
    yield sys.maxsize
    for limit, used in _control_groups():
        if limit.exists() and (text := limit.read_text("utf-8").strip()).isdecimal():
            yield int(text) - int(used.read_text("utf-8"))
    if find_spec("resource"):
        import resource

        limit_of_data, _hard = resource.getrlimit(resource.RLIMIT_DATA)
        if limit_of_data != resource.RLIM_INFINITY:
            yield limit_of_data - psutil.Process().memory_info().data


def _control_groups() -> Iterator[tuple[Path, Path]]:
    """Files with the limit and the use of memory of the groups that this process is in, of both versions."""
    listed = Path("/proc/self/cgroup")
    for line in listed.read_text("utf-8").splitlines() if listed.exists() else ():
        _number, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup/memory" if controllers else "/sys/fs/cgroup")
        files = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        for group in (PurePosixPath(name), *PurePosixPath(name).parents):
            limit, used = (root / group.relative_to("/") / file for file in files)
            yield limit, used


class FullMemoryError(Exception):
    """A forward or backward pass found too little memory; a smaller micro-batch needs less.

    in_pieces: what was freed since may be of no use to this process, as the heap of the C library on a CPU.
    """

    def __init__(self, *, in_pieces: bool) -> None:
        super().__init__()
        self.in_pieces = in_pieces


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on a GPU or on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def checkpointed(network: Network, *, bands: int) -> Network:
    """Let parts of the network keep only their input for the backward pass, and compute the rest of what it needs anew.

    A part is the largest module within the network that keeps at most an eighth of all activations, is called once and
    turns one tensor into one. The gradients are the same; the step takes longer by up to a forward pass. The network is
    changed and returned.
    Source: Chen et al. 2016, arXiv:1604.06174.
    """
    small = torch.zeros(2, bands, PROBE, PROBE, device=next(network.parameters()).device)
    kept = _kept_by_module(network, small)

    def change(module: nn.Module) -> None:
        bytes_kept, calls, is_plain = kept.get(module, (0, 0, False))
        children = list(module.children())
        if children and calls == 1 and is_plain and 0 < bytes_kept <= kept[network][0] / PARTS:
            module.forward = _computed_again(module)
        else:
            for child in children:
                change(child)

    change(network)
    return network


def _computed_again(module: nn.Module) -> Callable[[Tensor], Tensor]:
    forward = module.forward

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        half = torch.is_autocast_enabled("cpu")
        return nullcontext(), _again(module, half=half)

    def run(image: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            seen: Tensor = forward(image)
            return seen
        made: Tensor = checkpoint(forward, image, use_reentrant=False, context_fn=contexts)
        return made

    return run


@contextmanager
def _again(module: nn.Module, *, half: bool) -> Iterator[None]:
    """A second forward pass must not move the running statistics a second time, and computes what the first did."""
    before = [(value, value.clone()) for value in module.buffers()]
    try:
        with _DepthwiseGradients() if half else nullcontext():
            yield
    finally:
        for value, was in before:
            value.copy_(was)


def _kept_by_module(network: nn.Module, image: Tensor) -> dict[nn.Module, tuple[int, int, bool]]:
    """Of each module that a forward pass calls: bytes of activations that it keeps, calls, and whether it turns one
    tensor into one."""
    found: dict[nn.Module, list[Any]] = {}
    inside: list[nn.Module] = []
    seen: set[int] = set()

    def enter(module: nn.Module, given: tuple[Any, ...]) -> None:
        found.setdefault(module, [0, 0, True])[1] += 1
        found[module][2] &= len(given) == 1 and isinstance(given[0], Tensor)
        inside.append(module)

    def leave(module: nn.Module, _given: Any, made: Any) -> None:
        found[module][2] &= isinstance(made, Tensor)
        inside.pop()

    def note(kept: Tensor) -> Tensor:
        if kept.untyped_storage().data_ptr() not in seen:
            seen.add(kept.untyped_storage().data_ptr())
            for module in inside:
                found[module][0] += kept.untyped_storage().nbytes()
        return kept

    hooks = [
        hook
        for module in network.modules()
        for hook in (module.register_forward_pre_hook(enter), module.register_forward_hook(leave))
    ]
    with unmoved(network), torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        made = network(image)
    del made
    for hook in hooks:
        hook.remove()
    return {module: (bytes_kept, calls, plain) for module, (bytes_kept, calls, plain) in found.items()}


@contextmanager
def unmoved(network: nn.Module) -> Iterator[None]:
    """A trial must not change the running statistics."""
    before = [(value, value.clone()) for value in network.buffers()]
    yield
    for value, was in before:
        value.copy_(was)


def keep_memory(device: torch.device) -> bool:
    """Let the C library keep freed memory for the next allocation; False where it has no such option.

    The process then holds its peak memory until it ends.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(TRIM_THRESHOLD, -1) and library.mallopt(MMAP_MAX, 0))
