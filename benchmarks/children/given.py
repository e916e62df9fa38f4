"""What every peer is given: the scene, the stretch, the exported network, and how classes are written."""

import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

warnings.simplefilter("ignore")


@dataclass(frozen=True)
class Job:
    """One run: files, bands (from 1), their low and high, the logit from which a pixel is cropland."""

    scene: str
    out: str
    network: str
    threads: int
    channels_last: bool
    bands: list[int]
    low: list[float]
    high: list[float]
    logit: float

    def load_network(self) -> torch.nn.Module:
        """The network that ships, with its weights, as `torch.export` saved it."""
        network = torch.export.load(self.network).module()
        return network.to(memory_format=torch.channels_last) if self.channels_last else network

    def normalise(self, values: np.ndarray) -> np.ndarray:
        """As the model asks: low at 0, high at 1, clipped to -0.5 .. 1.5."""
        low, high = (np.asarray(each, np.float32)[:, None, None] for each in (self.low, self.high))
        return np.clip((values.astype(np.float32) - low) / (high - low), -0.5, 1.5)

    def classes(self, logits: torch.Tensor) -> np.ndarray:
        """The masks (batch, height, width) of logits (batch, 1, height, width)."""
        return (logits[:, 0] >= self.logit).to(torch.uint8).numpy()

    def profile(self, scene: Any) -> dict[str, Any]:
        """A mask as wide and high as the scene, compressed in blocks."""
        how = {"driver": "GTiff", "count": 1, "dtype": "uint8", "tiled": True, "compress": "deflate"}
        where = {"height": scene.height, "width": scene.width, "crs": scene.crs, "transform": scene.transform}
        return {**how, **where, "blockxsize": 512, "blockysize": 512}


def read_job(values: dict[str, Any]) -> Job:
    """From JSON; the threads are set at once."""
    torch.set_num_threads(values["threads"])
    return Job(**values)


def declare_torchvision() -> None:
    """Let torchvision be imported beside a CPU build of torch, whose operators its wheel lacks.

    It describes these two while it is imported; nobody here calls them.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        declared = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEPT.append(declared)  # what was declared goes with it
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]


KEPT: list[torch.library.Library] = []
