"""TerraTorch's tiled inference; reading, normalising and writing are the caller's."""

import json
import sys
import time

from given import declare_torchvision, read_job

declare_torchvision()
import rasterio  # noqa: E402
import torch  # noqa: E402
from terratorch.tasks.tiled_inference import tiled_inference  # noqa: E402

from plain_loop import BATCH, OVERLAP, TILE  # noqa: E402
from told import tell  # noqa: E402

job = read_job(json.loads(sys.argv[1]))
network = job.load_network()
begun = time.perf_counter()
with rasterio.open(job.scene) as scene:
    image, profile = torch.from_numpy(job.normalise(scene.read(job.bands)))[None], job.profile(scene)
how = {"crop": TILE, "stride": TILE - OVERLAP, "delta": 8, "batch_size": BATCH}
logits = tiled_inference(network, image, out_channels=1, **how)
with rasterio.open(job.out, "w", **profile) as out:
    out.write(job.classes(logits))
tell(time.perf_counter() - begun)
