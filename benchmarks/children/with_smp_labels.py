"""A few labelled chips and a plain loop as people write it: the U-Net of segmentation-models-pytorch on timm's
EfficientNet-Lite0 with the weights of ImageNet, cross entropy and Dice, for some seconds. Predicts whole chips.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from torch.nn import functional as F

from given import declare_torchvision
from three_class_unet import start_from_imagenet

declare_torchvision()
import segmentation_models_pytorch as smp  # noqa: E402

BATCH, RATE, UNKNOWN, STRIDE = 8, 1e-3, 255, 32


def read(listed: dict[str, Any], number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A chip, stretched between its low and high values, as the encoder knows images; and its label."""
    with rasterio.open(listed["image"][number]) as image, rasterio.open(listed["label"][number]) as label:
        values, target = image.read(listed["bands"], out_dtype="float32"), label.read(1)
    low, high = (np.float32(listed[side][number])[:, None, None] for side in ("low", "high"))
    return torch.from_numpy(((values - low) / (high - low)).clip(-0.5, 1.5) * 2 - 1), torch.from_numpy(target)


def crop(chip: tuple[torch.Tensor, torch.Tensor], size: int, rng: np.random.Generator) -> list[torch.Tensor]:
    """A crop at 0.7 to 1.4 times the pixel, turned and mirrored."""
    want = min(round(size * float(np.exp(rng.uniform(np.log(0.7), np.log(1.4))))), *chip[1].shape)
    row, col = (int(rng.integers(0, length - want + 1)) for length in chip[1].shape)
    image, label = (each[..., row : row + want, col : col + want] for each in chip)
    image = F.interpolate(image[None], (size, size), mode="bilinear", antialias=True)[0]
    label = F.interpolate(label[None, None].float(), (size, size), mode="nearest")[0, 0]
    turns, axes = int(rng.integers(4)), [-1] * int(rng.integers(2))
    return [torch.rot90(each, turns, (-2, -1)).flip(axes) for each in (image, label)]


def main(job: dict[str, Any]) -> None:
    """Train for so many seconds; the rate falls by a cosine over them."""
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    rng = np.random.default_rng(job["seed"])
    unet = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None, in_channels=3, classes=1)
    start_from_imagenet(unet)
    chips = [read(job["learn"], number) for number in range(len(job["learn"]["image"]))]
    optimizer = torch.optim.AdamW(unet.train().parameters(), lr=RATE, weight_decay=0.01)
    begun = time.monotonic()
    while (done := (time.monotonic() - begun) / job["seconds"]) < 1:
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + np.cos(np.pi * done))
        pairs = [crop(chips[int(rng.integers(len(chips)))], job["size"], rng) for _chip in range(BATCH)]
        images, labels = (torch.stack(each) for each in zip(*pairs, strict=True))
        logits, known = unet(images)[:, 0], labels != UNKNOWN
        target, share = (labels == 1).float(), torch.sigmoid(logits) * known
        entropy = (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * known).sum() / known.sum()
        dice = 1 - (2 * (share * target).sum() + 1) / (share.sum() + (target * known).sum() + 1)
        optimizer.zero_grad()
        (entropy + dice).backward()
        optimizer.step()
    unet.eval()
    found = {}
    with torch.inference_mode():
        for number in range(len(job["test"]["image"])):
            image, label = read(job["test"], number)
            height, width = label.shape
            padded = F.pad(image[None], (0, -width % STRIDE, 0, -height % STRIDE), mode="reflect")
            found[str(number)] = torch.sigmoid(unet(padded))[0, 0, :height, :width].half().numpy()
    np.savez(job["out"], **found)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
