"""Scenes through the network of three classes, and fields by one of three ways; each scene becomes a folder of a map.

What a folder holds is what `cropland evaluate` reads of a map: mask.tif, probability.tif, parcels.parquet and map.json.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import rasterio.features
import shapely
import torch
from geopandas import GeoDataFrame
from jaxtyping import Float, Int32
from scipy import ndimage
from shapely.geometry import shape

from cropland.files import write_json
from cropland.geo.resample import resample, taps
from cropland.geo.scene import Scene, open_scene
from cropland.geo.statistics import MISSING
from cropland.probability import DESCRIPTION, NO_DATA, to_levels
from three_class_unet import BACKGROUND, BOUNDARY, INTERIOR, STRIDE, three_class_unet
from told import tell

# Fields of The World's defaults: fields below 500 m2 are dropped, and outlines are simplified by 15 m, which are one
# and a half of its pixels. Source: fieldsoftheworld/ftw-baselines, ftw_tools/postprocess/polygonize.py.
MIN_AREA_M2, SIMPLIFY_PIXELS = 500.0, 1.5


def class_shares(
    scene: Scene, network: torch.nn.Module, *, bands: Sequence[str], pixel_m: float
) -> Float[np.ndarray, "3 height width"]:
    """The softmax at the working pixel, interpolated to the scene's own grid as cropland does with its probability."""
    ratio, (height, width) = pixel_m / scene.pixel_m, scene.shape
    image = scene.read(bands=bands, ratio=ratio)
    values = scene.statistics(bands).normalise(image.values, image.valid)
    rows, cols = image.valid.shape
    beyond = ((0, 0), (0, -rows % STRIDE), (0, -cols % STRIDE))
    padded = torch.from_numpy(np.pad(values, beyond, constant_values=MISSING))[None]
    with torch.inference_mode():
        shares = network(padded.to(memory_format=torch.channels_last)).softmax(1)[0, :, :rows, :cols].numpy()
    down, across = (
        taps(1 / ratio, start=0, count=count, length=length) for count, length in ((height, rows), (width, cols))
    )
    return resample(shares, None, rows=down, cols=across)[0]


def field_numbers(
    shares: Float[np.ndarray, "3 height width"], way: str, *, pixel_m: float
) -> Int32[np.ndarray, "height width"]:
    """The number of the field that a pixel lies in, 0 for none.

    way: `interiors`, the connected regions of the interior that are large enough; `watershed`, these regions grown over
    the boundary by a watershed on its share; `likelier side`, the same over those pixels of the boundary alone that are
    rather interior than background, since the rim that the boundary is learnt from lies on both sides of a field's
    edge. pixel_m: of the shares' grid.
    """
    best = shares.argmax(0)
    numbers, _ = ndimage.label(best == INTERIOR)
    # Before they grow: the boundary is full of specks of interior, which a watershed would make fields of.
    numbers[np.bincount(numbers.ravel())[numbers] * pixel_m**2 < MIN_AREA_M2] = 0
    if way == "interiors":
        return numbers
    from skimage.segmentation import watershed

    ground = best != BACKGROUND
    if way == "likelier side":
        ground &= shares[INTERIOR] > shares[BACKGROUND]
    return watershed(shares[BOUNDARY], numbers, mask=ground)


def polygons_of(numbers: Int32[np.ndarray, "height width"], scene: Scene, *, simplify: float) -> GeoDataFrame:
    """The fields as polygons in the scene's CRS. simplify: in pixels of the scene."""
    outlines = rasterio.features.shapes(numbers.astype(np.int32), numbers > 0)
    simple = shapely.simplify([shape(outline) for outline, _ in outlines], simplify)
    placed = shapely.transform(simple, lambda points: np.column_stack(scene.grid.affine @ tuple(points.T)))
    return GeoDataFrame(geometry=placed, crs=scene.grid.crs.to_wkt())


def write_map(folder: Path, scene: Scene, fields: GeoDataFrame, shares: Float[np.ndarray, "3 height width"]) -> None:
    """The mask is what the fields cover."""
    folder.mkdir(parents=True, exist_ok=True)
    fields.to_parquet(folder / "parcels.parquet")
    inside = np.zeros(scene.shape, np.uint8)
    if len(fields):
        rasterio.features.rasterize(fields.geometry, out=inside, transform=scene.grid.affine)
    valid = np.ones(scene.shape, bool)
    place = {"crs": scene.grid.crs.to_wkt(), "transform": scene.grid.affine, "nodata": NO_DATA}
    probability = to_levels(np.clip(1 - shares[BACKGROUND], 0, 1), valid)
    for name, values in (("mask", inside), ("probability", probability)):
        with rasterio.open(
            folder / f"{name}.tif", "w", "GTiff", *scene.shape[::-1], 1, dtype="uint8", compress="deflate", **place
        ) as file:
            file.write(values, 1)
            file.descriptions = (DESCRIPTION if name == "probability" else name,)
    write_json(folder / "map.json", {"found": {"fields": len(fields)}, "options": {"threshold": 0.5}})


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    network = three_class_unet(len(job["bands"]))
    network.load_state_dict(torch.load(job["weights"], weights_only=True))
    network = network.eval().to(memory_format=torch.channels_last)
    seen = {"bands": job["bands"], "pixel_m": job["pixel_m"]}
    paths = [Path(path) for path in job["scenes"]]
    class_shares(open_scene(paths[0], crs=job["crs"]), network, **seen)  # the first run of a layer is slower
    begun = time.perf_counter()
    for path in paths:
        scene = open_scene(path, crs=job["crs"])
        shares = class_shares(scene, network, **seen)
        simplify = SIMPLIFY_PIXELS * job["pixel_m"] / scene.pixel_m
        numbers = field_numbers(shares, job["way"], pixel_m=scene.pixel_m)
        fields = polygons_of(numbers, scene, simplify=simplify)
        write_map(Path(job["out"]) / path.stem, scene, fields, shares)
    tell(time.perf_counter() - begun)
