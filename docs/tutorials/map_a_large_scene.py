# %% [markdown]
# # Map a large scene
#
# A scene of a county has a hundred million pixels and more. It does not fit through the network at once, and it need not. This page shows what happens in its place, and
# how you can check that nothing is lost on the way.

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
from rasterio.windows import Window

from cropland.cli import main as cropland
from cropland.demo import FOLDER
from cropland.model import ModelFile, default_model

os.chdir(tempfile.mkdtemp())
SHORT = bool(os.environ.get("CROPLAND_SHORT"))  # the tests run this page in its short form

# %% [markdown]
# ## A large scene
#
# The sample from Sentinel-2 is small. We put it side by side with its mirror images until it is large; at the edges of the copies nothing jumps.

# %%
TIMES = 3 if SHORT else 6


def enlarge(times, path):
    with rasterio.open(FOLDER / "sentinel2_delmarva.tif") as file:
        small, profile, names = file.read(), file.profile, file.descriptions
    height, width = small.shape[1:]
    wide = np.pad(small, ((0, 0), (0, height * (times - 1)), (0, width * (times - 1))), mode="symmetric")
    profile.update(height=wide.shape[1], width=wide.shape[2], tiled=True, blockxsize=512, blockysize=512)
    with rasterio.open(path, "w", **profile) as file:
        file.write(wide)
        file.descriptions = names
    return wide.shape


print(enlarge(TIMES, "county.tif"))

# %% [markdown]
# ## One command
#
# It is the same as for a small scene. The network slides down it, band by band, and keeps from each layer the few rows that the next ones need: every
# pixel is computed once. The progress bar tells how fast it goes and how long it will take.

# %%
assert cropland("map county.tif --out county".split()) == 0


def probability(folder):
    with rasterio.open(f"{folder}/probability.tif") as file:
        return file.read(1)


# %% [markdown]
# ## How far a pixel looks
#
# Each pixel of the map depends on the image within some distance of it, the radius, and on nothing beyond. The radius is computed from the network, and kept in the
# model file.

# %%
model = ModelFile.load(default_model())
print("radius", model.radius, "stride", model.stride, "working pixels")

# %% [markdown]
# To see why, cut the scene in two and map the halves each for itself, with the stretch of the whole. Where does the map change?

# %%
whole = probability("county")
height, width = whole.shape
half = width // 2 // model.stride * model.stride
with rasterio.open("county.tif") as file:
    window = Window(0, 0, half, height)
    profile = {**file.profile, "width": half}
    with rasterio.open("west.tif", "w", **profile) as west:
        west.write(file.read(window=window))
        west.descriptions = file.descriptions
assert cropland("map west.tif --statistics county/map.json --out west".split()) == 0
apart = np.abs(probability("west").astype(int) - whole[:, :half]).max(0)
plt.figure(figsize=(8, 2.4))
plt.plot(half - np.arange(half), apart)
plt.axvline(model.radius, color="grey", linestyle="--")
plt.xlabel("pixels from the cut (dashed: the radius)")
plt.ylabel("largest difference")
plt.show()
assert not apart[: max(0, half - model.radius)].any()

# %% [markdown]
# Beyond the radius not one pixel differs. Near to the cut they do, since the network saw the edge of an image there. So do not cut a scene into pieces by hand: give the program
# the whole of it.
#
# ## In tiles
#
# Other programs cut a scene into tiles. `--tile` does so here, each tile with the radius around it, its *halo*, for those who do not believe the slide:

# %%
assert cropland("map county.tif --tile 512 --out in_tiles".split()) == 0
differ = np.abs(probability("in_tiles").astype(int) - whole)
print(f"differences: {differ.mean():.2f} of 254 on average")
assert differ.mean() < 2

# %% [markdown]
# No seam is left in either. Where the processor computes in 16 bits (bfloat16) both round in other places, which is the difference; in 32 bits there is none to
# speak of.
#
# ## Memory
#
# What counts is the width of the scene, up to 8,192 pixels, not its height. We map two sizes, each in a process of its own, and ask for the largest memory that it ever held:

# %%
MAP = """
import sys
from cropland.cli import main
status = main(["map", sys.argv[1], "--out", sys.argv[2]])
with open("/proc/self/status", encoding="utf-8") as file:  # Linux tells it here
    print(int(file.read().partition("VmHWM:")[2].split()[0]) // 1024)
sys.exit(status)
"""
for times in (3,) if SHORT else (3, 6):
    shape = enlarge(times, "some.tif")
    told = subprocess.run(
        [sys.executable, "-c", MAP, "some.tif", f"size_{times}"], capture_output=True, check=True, encoding="utf-8"
    )
    print(f"{shape[1] * shape[2] / 1e6:.1f} Mpx: {told.stdout.split()[-1]} MB")

# %% [markdown]
# ## Many scenes
#
# Name them all, or as many as the shell finds (`*.tif`). Each gets a folder of its name, and `index.gpkg` shows where they lie and what was found in each.

# %%
assert cropland(f"map {FOLDER / 'sentinel2_delmarva.tif'} {FOLDER / 'naip_minnesota.tif'} --out both".split()) == 0
print(*sorted(path.name for path in Path("both").iterdir()))

# %% [markdown]
# ## Exercises
#
# 1. In tiles with a core of 512 pixels and the halo of the shipped model, how many pixels are computed for one that is kept? And with a core of 2,048?
# 2. A map is killed on the way. What lies in the folder `--out`, and what is lost?
#
# Answers:

# %%
halo = -(-model.radius // model.stride) * model.stride  # tiles begin at multiples of the stride
for core in (512, 2048):
    print(core, f"{((core + 2 * halo) / core) ** 2:.1f}")

# %% [markdown]
# That is why the network slides, and why `--tile` made the map above slower.

# %%
command = [sys.executable, "-m", "cropland", "map", "county.tif", "--out", "killed"]
with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
    while process.poll() is None and not Path(".killed.unfinished/journal.jsonl").exists():  # until something is done
        time.sleep(0.05)
    process.kill()
print("there is a folder:", Path("killed").exists())
assert not Path("killed").exists()

# %% [markdown]
# There is no such folder: it appears whole or not at all. But what was finished lies, with checksums, in a hidden folder beside it, and the same command goes on from there:

# %%
assert cropland("map county.tif --out killed".split()) == 0
same = Path("killed/probability.tif").read_bytes() == Path("county/probability.tif").read_bytes()
print("the same bytes as a map that nobody killed:", same)
assert same

# %% [markdown]
# ## What to do next
#
# - [Sliding down a scene, and the halo of tiles](../explanation/halo_and_streaming.md): how the radius is found, and what is kept.
# - [Memory](../explanation/memory.md): what else is held, in mapping and in training.
# - [Map on a cluster](../how_to/map_on_a_cluster.md), with several machines.
# - [Open the map in QGIS](../how_to/open_the_map_in_qgis.md).
