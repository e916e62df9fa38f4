"""Memory that is kept from step to step, as PyTorch keeps it on CUDA.

On the CPU, every large activation is new memory, which the system makes present page by page, and which goes back to
the system when it is let go. What keeping it brings is measured by `benchmarks/kept_memory.py`.
"""

from __future__ import annotations

import ctypes
import platform

import torch

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of mallopt(3)


def keep_memory(device: torch.device) -> bool:
    """Tell the C library to keep what is let go for what is asked for next; False where there is no such switch.

    The process then holds the most that it ever needed at one time until it ends.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(TRIM_THRESHOLD, -1) and library.mallopt(MMAP_MAX, 0))
