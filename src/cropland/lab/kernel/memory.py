"""Memory that is kept for the next layer, as PyTorch keeps it on CUDA.

On the CPU, PyTorch gives large tensors back to the system, and the next one is new memory that must be made present
page by page: at 256 x 256 x 128 values that can take as long as the arithmetic.
"""

from __future__ import annotations

import sys
from threading import Lock

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

KEPT = 3  # blocks: the input and output of a layer, and what is held beside them
UNUSED = 3  # references to a block that nobody uses: the list, the loop and the question
_blocks: list[np.ndarray] = []
_lock = Lock()


def kept_empty(batch: int, channels: int, height: int, width: int) -> Float[Tensor, "batch channels height width"]:
    """A float32 tensor in channels-last order, not initialised; its memory is used again when no tensor lies in it."""
    size = batch * channels * height * width
    with _lock:
        tensor = torch.from_numpy(_block(size))
    return tensor.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _block(size: int) -> np.ndarray:
    for block in _blocks:
        if block.size == size and sys.getrefcount(block) == UNUSED:
            return block
    made: np.ndarray = torch.empty(size).numpy()
    _blocks.append(made)
    del _blocks[:-KEPT]
    return made
