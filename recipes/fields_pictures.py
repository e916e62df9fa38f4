"""The pictures of docs/explanation/fields.md, from the sample and the fields that people drew on it.

    python recipes/fields_pictures.py docs/explanation

Writes rim.jpg (what the second output learns) and cores.jpg (how fields are found). No trained network is needed: the
boundary is drawn from the polygons, with gaps and false lines such as a network leaves.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import rasterio
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from rasterio.features import rasterize
from rasterio.transform import from_origin
from scipy import ndimage

from cropland.data.boundary import STEP, UNKNOWN, boundary_distance, half_rim
from cropland.data.labels import LabelOptions, read_labels
from cropland.demo import FIELDS, TILE
from cropland.geo.scene import open_scene
from cropland.geo.window import Window
from cropland.parcels.instances import GAP_M
from cropland.parcels.parcels import BOUNDARY_THRESHOLD, parcels

PART = Window(450, 395, 570, 620)  # of the tile, in pixels of a metre: where fields touch
COARSE = 10  # metres
WIDTH_M = 4.0
SOME = ListedColormap(np.vstack([[1, 1, 1], plt.get_cmap("tab20").colors]))


def main(folder: Path) -> None:
    scene = open_scene(TILE)
    draw = read_labels(LabelOptions(FIELDS, background="known")).on(scene)
    assert draw.fields is not None
    label, field = draw(PART), draw.fields(PART)
    image = scene.read(PART, bands=("red", "green", "blue")).values.transpose(1, 2, 0) / 255
    distance = boundary_distance(label, field)
    rim_picture(image, label, field, distance).savefig(folder / "rim.jpg", dpi=110, pil_kwargs={"quality": 88})
    found = cores_picture(image, label == 1, boundary_of(distance))
    found.savefig(folder / "cores.jpg", dpi=110, pil_kwargs={"quality": 88})


def rim_picture(image: np.ndarray, label: np.ndarray, field: np.ndarray, distance: np.ndarray) -> plt.Figure:
    """From polygons to the rim at two pixels."""
    figure, axes = panels(2, 3)
    outlines = ndimage.grey_erosion(field, 3) != field
    show(axes[0], np.where(outlines[..., None], (1.0, 0.85, 0.1), image), "Fields that people drew, at 1 m")
    show(axes[1], distance * STEP, "In the chip: metres to a boundary, to 25.4", cmap="magma")
    show(axes[2], distance * STEP <= half_rim(WIDTH_M, chip_m=1, pixel_m=1), "The rim at 1 m: 4 m wide", cmap="Greys")
    rim = coarse(distance * STEP <= half_rim(WIDTH_M, chip_m=1, pixel_m=1))
    show(axes[3], rim, f"That rim averaged to {COARSE} m: it fades", cmap="Greys", vmin=0, vmax=1)
    wide = coarse(distance * STEP) <= half_rim(WIDTH_M, chip_m=1, pixel_m=COARSE)
    show(axes[4], wide, f"The rim of the distance at {COARSE} m: 15 m wide", cmap="Greys")
    steps = boundary_distance(label, None)
    known = np.where(steps == UNKNOWN, np.nan, steps * STEP)
    show(axes[5], known, "From a mask alone: blue is unknown", cmap="magma")
    axes[5].set_facecolor("#7fa8d9")
    return figure


def coarse(values: np.ndarray) -> np.ndarray:
    """The mean of each pixel of `COARSE` metres."""
    height, width = (length // COARSE for length in values.shape)
    return values[: height * COARSE, : width * COARSE].reshape(height, COARSE, width, COARSE).mean((1, 3))


def boundary_of(distance: np.ndarray) -> np.ndarray:
    """Levels (0..254) of a boundary as a network gives it: blurred, with gaps of some metres and false lines."""
    random = np.random.default_rng(3)
    near = np.argwhere(distance * STEP <= 1)
    gap = np.ones(distance.shape, bool)
    gap[tuple(near[random.integers(0, len(near), 60)].T)] = False
    rim = (distance * STEP <= WIDTH_M / 2) & (ndimage.distance_transform_edt(gap) > 3)
    rim[180:330, 420:423] = rim[420:423, 300:390] = True  # a ditch, and a wheel track
    noise = np.abs(ndimage.gaussian_filter(random.standard_normal(rim.shape), 2)) * 60
    return np.rint(np.clip(ndimage.gaussian_filter(254.0 * rim, 1) + noise, 0, 254)).astype(np.uint8)


def cores_picture(image: np.ndarray, drawn: np.ndarray, boundary: np.ndarray) -> plt.Figure:
    """The steps from mask and boundary to fields; the fields themselves are those of `cropland parcels`."""
    cropland = ndimage.binary_closing(np.pad(drawn, 4), np.ones((7, 7)))[4:-4, 4:-4]  # a mask spans narrow lines
    below = boundary < BOUNDARY_THRESHOLD * 254
    erosion = round(GAP_M / 2)  # at a metre
    core = cropland & ndimage.minimum_filter(below, 2 * erosion + 1, mode="constant", cval=1)
    with TemporaryDirectory() as name:
        mask, lines = Path(name) / "mask.tif", Path(name) / "boundary.tif"
        place = {"height": PART.height, "width": PART.width, "transform": from_origin(0, PART.height, 1, 1)}
        for path, values in ((mask, cropland.astype(np.uint8)), (lines, boundary)):
            with rasterio.open(path, "w", driver="GTiff", count=1, dtype="uint8", nodata=255, **place) as file:
                file.write(values, 1)
        fields = parcels(mask, boundary=lines, unit_m=1)
        alone = parcels(mask, unit_m=1)
    grown = rasterize(zip(fields.geometry, fields.index + 1, strict=True), drawn.shape, transform=place["transform"])
    figure, axes = panels(2, 3)
    show(axes[0], np.where(cropland, boundary, np.nan), "Mask, and the boundary within it", cmap="Greys")
    axes[0].set_facecolor("#7fa8d9")
    show(axes[1], ndimage.label(cropland & below)[0], f"Boundary below {BOUNDARY_THRESHOLD:g}: gaps join fields")
    show(axes[2], ndimage.label(core)[0], f"With lines {2 * erosion} m wider: the cores")
    show(axes[3], grown, "Grown back to all of the mask")
    for axis in axes[1:4]:
        colour(axis)
    for axis, table, title in ((axes[4], alone, "Parcels of the mask alone"), (axes[5], fields, "Fields")):
        show(axis, image, f"{title}: {len(table)}")
        for outline in table.geometry.boundary.explode():
            columns, rows = np.array(outline.coords.xy)
            axis.plot(columns - 0.5, PART.height - rows - 0.5, color="#ffc400", lw=1.3)
    return figure


def colour(axis: Axes) -> None:
    """Give the parts of a picture of numbers colours by their size; 0 stays white."""
    picture = axis.get_images()[0]
    numbers = np.asarray(picture.get_array())
    sizes = np.bincount(numbers.ravel())
    sizes[0] = numbers.size + 1
    rank = np.argsort(np.argsort(-sizes, kind="stable"))
    picture.set(data=np.where(rank == 0, 0, (rank - 1) % 20 + 1)[numbers], cmap=SOME, clim=(0, 20))


def panels(rows: int, columns: int) -> tuple[plt.Figure, list[Axes]]:
    figure, axes = plt.subplots(rows, columns, figsize=(11.4, 7.4), layout="constrained")
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    return figure, list(axes.flat)


def show(axis: Axes, values: np.ndarray, title: str, **how: object) -> None:
    axis.imshow(values, interpolation="nearest", **how)
    axis.set_title(title, fontsize=10)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
