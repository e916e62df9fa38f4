"""geoai's prediction of a GeoTIFF, blended as it does by default."""

import json
import sys
import time

from given import declare_torchvision, read_job

declare_torchvision()
import geoai.utils  # noqa: E402, F401  # the first prediction would import it, which takes seconds
import numpy as np  # noqa: E402
from geoai.inference import predict_geotiff  # noqa: E402

from plain_loop import BATCH, OVERLAP, TILE  # noqa: E402
from told import tell  # noqa: E402

job = read_job(json.loads(sys.argv[1]))
network = job.load_network()
network.eval = lambda: network  # an exported network is in evaluation mode and refuses to be told so
begun = time.perf_counter()
predict_geotiff(
    network,
    job.scene,
    job.out,
    tile_size=TILE,
    overlap=OVERLAP,
    batch_size=BATCH,
    input_bands=job.bands,
    num_classes=1,
    output_dtype="uint8",
    output_nodata=255,
    preprocess_fn=job.normalise,
    postprocess_fn=lambda logits: (logits >= job.logit).astype(np.uint8),
    device="cpu",
    verbose=False,
)
tell(time.perf_counter() - begun)
