"""How the optimizer's batch is cut so that it fits: measured once, on one chip, before the first step."""

from __future__ import annotations

import psutil
import torch
from torch import Tensor, nn

SHARE = 0.5  # of the free memory may be activations; the rest is for gradients, workspaces and the chips


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
    # Running statistics must not remember this trial.
    for name, value in network.named_buffers():
        value.copy_(before[name])
    return sum(seen.values())


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on the device, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
