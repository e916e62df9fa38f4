"""A U-Net of segmentation-models-pytorch on timm's EfficientNet-Lite0, with random weights, in the plain loop."""

import json
import sys
import time

from given import declare_torchvision, read_job

declare_torchvision()
import segmentation_models_pytorch as smp  # noqa: E402

from plain_loop import windowed_loop  # noqa: E402
from told import tell  # noqa: E402

job = read_job(json.loads(sys.argv[1]))
unet = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None, in_channels=len(job.bands), classes=1).eval()
begun = time.perf_counter()
windowed_loop(unet, job)
tell(time.perf_counter() - begun)
