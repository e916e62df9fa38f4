"""Where training runs, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from cropland.errors import InputError


def choose_device(name: str | None) -> torch.device:
    """The named device, or CUDA where there is one, else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"no device '{name}'; there are cpu and cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda, but this PyTorch sees no CUDA device; leave --device out to use the CPU")
    return device


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where the hardware multiplies it: CUDA from Ampere on, CPUs with AVX-512 BF16 or AMX; else single
    precision."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16) if fast else nullcontext()
