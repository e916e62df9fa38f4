"""PyTorch: the default where CUDA is, and the reference for the others."""

import numpy as np
import torch
from jaxtyping import Float

from cropland.engines import Engine, Precision, Trained

__all__ = ["open_engine"]


def open_engine(model: Trained, *, threads: int | None = None, precision: Precision = "fastest") -> Engine:
    """An engine on the first CUDA device, or on the CPU with `threads` threads.

    `fastest` is half precision on CUDA and float32 on the CPU.
    """
    if threads:
        torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float64 if precision == "f64" else torch.float32
    network = model.network().to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    is_half = precision == "fastest" and device.type == "cuda"

    @torch.inference_mode()
    def run(batch: Float[np.ndarray, "batch band height width"]) -> Float[np.ndarray, "batch output height width"]:
        image = torch.from_numpy(batch).to(device, dtype, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.float16, enabled=is_half):
            logits = network(image)
        result: np.ndarray = logits.to(dtype).cpu().numpy()
        return result

    return run
