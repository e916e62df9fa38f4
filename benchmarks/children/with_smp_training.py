"""A plain training loop as people write it: a U-Net of segmentation-models-pytorch on timm's EfficientNet-Lite0, in
float32, all pixels of a channel together, with PyTorch's DataLoader.

A chip is read by rasterio: a window of 0.6 to 2 times the size of the crop is resized to it, and mirrored. Both bands
of the label are learnt, where they are known.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from given import declare_torchvision
from told import multiply_adds, tell

declare_torchvision()
import segmentation_models_pytorch as smp  # noqa: E402

WORKERS = 2
UNKNOWN, RIM = 255, 15  # a pixel and a half from the boundary, in the label's tenths of a pixel


class Chips(Dataset):
    """Crops and their labels."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job

    def __len__(self) -> int:
        return len(self.job["images"])

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        job, rng = self.job, np.random.default_rng(number)
        size = job["size"]
        with rasterio.open(job["images"][number]) as image, rasterio.open(job["labels"][number]) as label:
            want = round(size * np.exp(rng.uniform(np.log(0.6), np.log(2))))
            height, width = min(want, image.height), min(want, image.width)
            row, col = rng.integers(image.height - height + 1), rng.integers(image.width - width + 1)
            window = Window(col, row, width, height)
            values = image.read(job["bands"], window=window, out_dtype="float32")
            labels = label.read(window=window)
        low, high = (np.float32(job[side][number])[:, None, None] for side in ("low", "high"))
        values = torch.from_numpy((values - low) / (high - low))
        values = F.interpolate(values[None], (size, size), mode="bilinear", antialias=True)[0]
        labels = F.interpolate(torch.from_numpy(labels)[None], (size, size), mode="nearest")[0]
        axes = [axis for axis in (1, 2) if rng.random() < 0.5]
        values, labels = values.flip(axes), labels.flip(axes)
        target = torch.stack([labels[0] == 1, labels[1] <= RIM])
        return values, target.float(), labels != UNKNOWN


def main(job: dict[str, Any]) -> None:
    """Steps by AdamW, the first ones not timed."""
    torch.set_num_threads(job["threads"])
    unet = smp.Unet(
        "tu-tf_efficientnet_lite0",
        encoder_weights=None,
        in_channels=len(job["bands"]),
        classes=2,
        decoder_channels=job["decoder"],
    ).train()
    optimizer = torch.optim.AdamW(unet.parameters(), lr=job["rate"], weight_decay=job["decay"])
    loader = iter(DataLoader(Chips(job), batch_size=job["batch"], num_workers=WORKERS))
    waiting, begun, cores = 0.0, 0.0, 0.0
    for number in range(job["warm"] + job["steps"]):
        if number == job["warm"]:
            waiting, begun, cores = 0.0, time.perf_counter(), time.process_time()
        asked = time.perf_counter()
        images, target, known = next(loader)
        waiting += time.perf_counter() - asked
        optimizer.zero_grad()
        losses = F.binary_cross_entropy_with_logits(unet(images), target, reduction="none")
        (losses * known).sum().div(known.sum().clamp(min=1)).backward()
        optimizer.step()
    seconds, cores = time.perf_counter() - begun, time.process_time() - cores
    del loader  # its workers end, and their time can be asked for; some of it went to the steps that are not timed
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    share = job["steps"] / (job["warm"] + job["steps"])
    tell(
        seconds,
        cpu=cores + share * (workers.ru_utime + workers.ru_stime),
        waiting=waiting,
        chips=job["steps"] * job["batch"],
        multiply_adds=multiply_adds(unet, images[:1]),
    )


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
