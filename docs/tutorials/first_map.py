# %% [markdown]
# # A first map
#
# You have a GeoTIFF and want to know where the cropland is. Here the GeoTIFF is an aerial image of Minnesota that comes with
# `cropland`: a kilometre square, one metre per pixel.

# %%
import json
import os
import tempfile

import rasterio

import cropland
from cropland.demo import FIELDS, TILE

os.chdir(tempfile.mkdtemp())  # everything that is written here goes away

# %% [markdown]
# A scene shows itself: its bands, its size, its coordinates.

# %%
scene = cropland.open(TILE)
scene

# %% [markdown]
# ## Two lines
#
# Open the model that ships, and map the scene with it. The result shows itself: so many hectares, so many parcels, and the picture. Look before you
# believe it.

# %%
model = cropland.Model.open()
result = model.map(scene)
result

# %% [markdown]
# The notes say what was decided for you. The model that ships knows pixels of 2, 4 and 10 m; the scene's are averaged to the nearest.

# %%
result.notes

# %% [markdown]
# ## What lies in the folder
#
# The result lies in a temporary folder until you keep it. In a terminal you would type `cropland map naip_minnesota.tif --out my_map` and get the
# same files.

# %%
result.save("my_map")
assert os.path.exists("my_map/mask.tif")

# %% [markdown]
# Every file is an ordinary one. `probability.tif` says how sure the model is, from 0 to 254; 255 is no data. `mask.tif` is 1 where the
# probability reaches the model's threshold, after specks and holes too small to be a field were removed.

# %%
with rasterio.open("my_map/mask.tif") as file:
    mask = file.read(1)
    print(file.crs, file.shape, "values:", sorted(set(mask.flat)))

# %% [markdown]
# The parcels have their area on the ellipsoid, in hectares:

# %%
parcels = result.parcels
parcels[[name for name in parcels.columns if name != "geometry"]].head()

# %% [markdown]
# `map.json` remembers how the map was made: scene, model, threshold, options. Give it to somebody with the map.

# %%
record = json.loads(open("my_map/map.json", encoding="utf-8").read())
record["model"], record["notes"]

# %% [markdown]
# ## How honest is the area?
#
# It is the area of the mask, no more. Where the model is wrong, the area is wrong; the picture above shows shrubs taken for a field. For this tile
# people drew the fields, so the map can be measured:

# %%
cropland.evaluate(result, labels=FIELDS, background="known", out="my_report")

# %% [markdown]
# `precision` is the share of the mapped cropland that is cropland, `recall` the share of the cropland that was mapped. `my_report/report.html` shows
# where.
#
# ## Exercises
#
# 1. A field of less than one mu (1 mu is 1/15 ha) is nothing to you. Map again without them. How many parcels are left?
# 2. How much cropland is there if you ask for a probability of 0.9?
#
# Answers:

# %%
fewer = model.map(scene, min_area_m2=10_000 / 15).parcels
print(len(parcels), "parcels became", len(fewer))
assert len(fewer) <= len(parcels) and fewer["area"].min() > 0.06

# %%
sure = model.map(scene, threshold=0.9).parcels
print(f"{parcels['area'].sum():.1f} ha became {sure['area'].sum():.1f} ha")
assert sure["area"].sum() < parcels["area"].sum()

# %% [markdown]
# ## What to do next
#
# - [Your own labels, your own model](own_labels.py): when this model does not know your country.
# - [Name the bands](../how_to/name_the_bands.md): when your GeoTIFF has four bands and no names.
# - [Map a large scene](map_a_large_scene.py), and [open the map in QGIS](../how_to/open_the_map_in_qgis.md).
