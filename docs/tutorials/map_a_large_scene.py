# %% [markdown]
# # Map a large scene
#
# A scene of a county has a hundred million pixels and more. It is too large to go through the network at once, and it need not. This page shows how such a
# scene is mapped instead, and how you can check that nothing is lost on the way.

# %%
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import rasterio

import cropland
from cropland.demo import FOLDER
from cropland.geo.window import Window

os.chdir(tempfile.mkdtemp())  # a temporary folder for everything that this page writes
SHORT = bool(os.environ.get("CROPLAND_SHORT"))  # the tests run this page in its short form

# %% [markdown]
# ## A large scene
#
# The sample from Sentinel-2 is small. We put it side by side with its mirror images until it is large. Mirror images continue each other, so no edge
# shows where two copies meet.

# %%
TIMES = 2 if SHORT else 6


def enlarge(times, path):
    with rasterio.open(FOLDER / "sentinel2_delmarva.tif") as file:
        small, profile, names = file.read(), file.profile, file.descriptions
    height, width = small.shape[1:]
    wide = np.pad(small, ((0, 0), (0, height * (times - 1)), (0, width * (times - 1))), mode="symmetric")
    profile.update(height=wide.shape[1], width=wide.shape[2], tiled=True, blockxsize=512, blockysize=512)
    with rasterio.open(path, "w", **profile) as file:
        file.write(wide)
        file.descriptions = names


enlarge(TIMES, "county.tif")
scene = cropland.open("county.tif")
scene

# %% [markdown]
# ## Into a folder
#
# `model.map` is for scenes whose map fits in memory. `cropland.map` maps a scene of any size into a folder. The network slides down the scene, band of rows
# by band of rows, and keeps from each layer the few rows that the next band needs, so every pixel is computed once. In a terminal a progress bar shows the
# speed and the time left.

# %%
model = cropland.Model.open()
county = cropland.map(scene, "county", model=model)
county

# %% [markdown]
# ```bash
# cropland map county.tif --out county
# ```
#
# ## How far a pixel looks
#
# Each pixel of the map depends on the pixels of the image within a certain distance, the radius of the receptive field, and on nothing beyond it. The
# radius is computed from the network and stored in the model file, in working pixels.

# %%
print("radius", model.file.radius, "stride", model.file.stride)

# %% [markdown]
# To see why the radius matters, map only the western half of the scene, stretched by the percentiles of the whole scene. Where does its map differ?

# %%
height, width = scene.shape
half = width // 2 // model.file.stride * model.file.stride
west = model.map(scene.read(Window(0, 0, height, half)), statistics="county/map.json")

whole = county.probability.values[0]
apart = np.abs(west.probability.values[0] - whole[:, :half]).max(0)
plt.figure(figsize=(8, 2.4))
plt.plot(half - np.arange(half), apart)
plt.axvline(model.file.radius, color="grey", linestyle="--")
plt.xlabel("pixels from the cut (dashed: the radius)")
plt.ylabel("largest difference\nof the probability")
plt.show()
assert not apart[: max(0, half - model.file.radius)].any()

# %% [markdown]
# ```bash
# gdal_translate -srcwin 0 0 WIDTH HEIGHT county.tif west.tif
# cropland map west.tif --statistics county/map.json --out west
# ```
#
# Beyond the radius not one pixel differs. Near the cut pixels do differ, because the network saw the edge of an image there. So do not cut a scene into pieces
# by hand: give the program the whole scene.
#
# ## In tiles
#
# Other programs cut a scene into tiles. With `tile`, this program does so too. It reads each tile with a margin as wide as the radius, its *halo*. You can
# use this to check the sliding network:

# %%
in_tiles = cropland.map(scene, "in_tiles", model=model, tile=512)
differ = np.abs(in_tiles.probability.values[0] - whole)
print(f"{(differ > 0).mean():.1%} of the pixels differ; the probability differs by {differ.max():.3f} at most")
assert differ.mean() < 2 / 254

# %% [markdown]
# ```bash
# cropland map county.tif --tile 512 --out in_tiles
# ```
#
# Neither map has a seam. Where the processor computes in 16 bits (bfloat16), the two methods round at different places, and this makes the difference. In
# 32 bits there is practically none.
#
# ## Memory
#
# Memory depends on the width of the scene, up to 8,192 pixels, and not on its height. We map two sizes and ask for the largest memory that each map took. The
# system keeps this figure for a process as a whole, so each map runs in a process of its own:

# %%
MAP = """
import sys
import cropland
cropland.map(sys.argv[1], sys.argv[2])
with open("/proc/self/status", encoding="utf-8") as file:  # Linux tells it here
    print(int(file.read().partition("VmHWM:")[2].split()[0]) // 1024)
"""
for times in (2,) if SHORT else (3, 6):
    enlarge(times, "some.tif")
    rows, columns = cropland.open("some.tif").shape
    command = [sys.executable, "-c", MAP, "some.tif", f"size_{times}"]
    told = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")
    print(f"{rows * columns / 1e6:.1f} Mpx: {told.stdout.split()[-1]} MB")

# %% [markdown]
# ## Many scenes
#
# Map them one after the other. The model is opened and compiled once.

# %%
for path in sorted(FOLDER.glob("*.tif")):
    result = cropland.map(path, f"both/{path.stem}", model=model)
    print(result.sentence)

# %% [markdown]
# ```bash
# cropland map sentinel2_delmarva.tif naip_minnesota.tif --out both
# ```
#
# The command also writes `both/index.gpkg`, which shows where the scenes lie and how much cropland each of them has.
#
# ## Exercises
#
# 1. Take tiles with a core of 512 pixels and the halo of the shipped model. How many pixels are computed for each pixel that is kept? And with a core of
#    2,048?
# 2. A map is killed on the way. What does its folder hold, and what is lost?
#
# Answers:

# %%
halo = -(-model.file.radius // model.file.stride) * model.file.stride  # tiles begin at multiples of the stride
for core in (512, 2048):
    print(core, f"{((core + 2 * halo) / core) ** 2:.1f}")

# %% [markdown]
# That is why the network slides, and why `tile` made the map above slower.
#
# To kill a map we need another process than this one:

# %%
command = [sys.executable, "-c", "import cropland; cropland.map('county.tif', 'killed')"]
with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
    while process.poll() is None and not Path(".killed.unfinished/journal.jsonl").exists():  # until something is done
        time.sleep(0.05)
    process.kill()
print("there is a folder:", Path("killed").exists())
assert not Path("killed").exists()

# %% [markdown]
# There is no such folder, because a map appears whole or not at all. What was finished lies, with checksums, in a hidden folder beside it, and the same call
# or command continues from there:

# %%
resumed = cropland.map(scene, "killed", model=model)
print(resumed.sentence)
same = Path("killed/probability.tif").read_bytes() == Path("county/probability.tif").read_bytes()
print("the same bytes as the map that nobody killed:", same)
assert same

# %% [markdown]
# ## What to do next
#
# - [Sliding down a scene, and the halo of tiles](../explanation/halo_and_streaming.md): how the radius is found, and what is kept.
# - [Memory](../explanation/memory.md): what else is held, in mapping and in training.
# - [Map on a cluster](../how_to/map_on_a_cluster.md), with several machines.
# - [Open the map in QGIS](../how_to/open_the_map_in_qgis.md).
