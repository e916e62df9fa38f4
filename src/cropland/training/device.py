"""Where training runs, in which precision and in which memory order."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import nn

from cropland.data.batches import Batch
from cropland.errors import InputError
from cropland.language import _
from cropland.recipe import Layout, Precision

Network = TypeVar("Network", bound=nn.Module)
# The order of a map's numbers in memory: all channels of a pixel together, or all pixels of a channel.
ORDERS = {"channels_last": torch.channels_last, "channels_first": torch.contiguous_format}


def choose_device(name: str | None) -> torch.device:
    """The named device, or CUDA where there is one, else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(_("no device '{name}'; there are cpu and cuda", name=name)) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(_("--device cuda, but this PyTorch sees no CUDA device; leave --device out to use the CPU"))
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


def autocast(device: torch.device, precision: Precision = "auto") -> AbstractContextManager[object]:
    """Single precision or bfloat16; `auto` is bfloat16 where the hardware multiplies it."""
    half = precision == "bfloat16" or (precision == "auto" and _multiplies_bfloat16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16) if half else nullcontext()


def _multiplies_bfloat16(device: torch.device) -> bool:
    """CUDA from Ampere on, CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
