"""What every child tells its parent, in any environment."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def tell(seconds: float, **figures: float | None) -> None:
    """Seconds of the work, and the peak of this process in MB (getrusage would tell of the parent too)."""
    status = Path("/proc/self/status")
    text = status.read_text(encoding="utf-8") if status.exists() else ""
    peak = int(text.partition("VmHWM:")[2].split()[0]) / 1e3 if "VmHWM:" in text else float("nan")
    print(json.dumps({"seconds": seconds, "peak_mb": peak, **figures}), flush=True)


def multiply_adds(network: "torch.nn.Module", image: "torch.Tensor") -> float:
    """Those of a forward pass of one chip (1, band, height, width), by PyTorch's counter, which counts both halves."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(image)
    return counter.get_total_flops() / 2
