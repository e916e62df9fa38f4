# %% [markdown]
# # A first map
#
# You have a GeoTIFF and want to know where the cropland is. Here the GeoTIFF is an aerial image of Minnesota that comes with
# `cropland`. It covers one square kilometre with pixels of one metre.

# %%
import json
import os
import tempfile

import rasterio

import cropland
from cropland.demo import FIELDS, TILE

os.chdir(tempfile.mkdtemp())  # a temporary folder for everything that this page writes

# %% [markdown]
# A scene shows itself in a notebook: its bands, its size and its coordinates.

# %%
scene = cropland.open(TILE)
scene

# %% [markdown]
# ## Two lines
#
# Open the model that ships, and map the scene with it. The result shows itself: the area in hectares, the number of parcels, and a picture. Look at the
# picture before you trust the numbers.

# %%
model = cropland.Model.open()
result = model.map(scene)
result

# %% [markdown]
# The notes say what the program decided for you. The model that ships works with pixels of 2, 4, 10 and 30 m. The pixels of the scene are averaged to the nearest of these sizes.

# %%
result.notes

# %% [markdown]
# ## What the folder holds
#
# The result lies in a temporary folder until you save it:

# %%
result.save("my_map")
assert os.path.exists("my_map/mask.tif")

# %% [markdown]
# The command line writes the same files:
#
# ```bash
# cropland map naip_minnesota.tif --out my_map
# ```
#
# All of them are ordinary files. `probability.tif` holds the probability of cropland, from 0 to 254; 255 is no data. `mask.tif` is 1 where the
# probability reaches the model's threshold. Specks and holes that are too small to be a field were removed. `boundary.tif` holds the probability of a
# boundary between fields, and `parcels.gpkg` the fields that follow from both ([how fields come apart](../explanation/fields.md)).

# %%
with rasterio.open("my_map/mask.tif") as file:
    mask = file.read(1)
    print(file.crs, file.shape, "values:", sorted(set(mask.flat)))

# %% [markdown]
# The parcels have their area on the ellipsoid: `area_ha` in hectares, `area_mu` in mu, `metrics:area` in square metres.
# [This page](../how_to/open_the_map_in_qgis.md) explains all columns.

# %%
parcels = result.parcels
parcels[[name for name in parcels.columns if name != "geometry"]].head()

# %% [markdown]
# `map.json` records how the map was made: scene, model, threshold and options. Pass it on together with the map.

# %%
record = json.loads(open("my_map/map.json", encoding="utf-8").read())
record["model"], record["notes"]

# %% [markdown]
# ## How honest is the area?
#
# The area is that of the mask. Where the model is wrong, the area is wrong too: the picture above shows shrubs that were taken for a field. For this tile
# people drew the fields, so the map can be measured:

# %%
cropland.evaluate(result, labels=FIELDS, background="known", out="my_report")

# %% [markdown]
# ```bash
# cropland evaluate my_map/mask.tif --labels naip_minnesota_fields.geojson --background known --out my_report
# ```
#
# Precision is the share of the mapped cropland that really is cropland. Recall is the share of the cropland that was mapped. `my_report/report.html` shows
# where the errors are.
#
# ## Exercises
#
# 1. You do not need fields of less than one mu (1 mu is 1/15 ha). Map again without them. How many parcels are left?
# 2. How much cropland is there with a threshold of 0.9?
#
# Answers:

# %%
fewer = model.map(scene, min_area_m2=10_000 / 15).parcels
print(len(parcels), "parcels became", len(fewer))
assert len(fewer) <= len(parcels) and fewer["area_ha"].min() > 0.06

# %%
sure = model.map(scene, threshold=0.9).parcels
print(f"{parcels['area_ha'].sum():.1f} ha became {sure['area_ha'].sum():.1f} ha")
assert sure["area_ha"].sum() < parcels["area_ha"].sum()

# %% [markdown]
# ## What to do next
#
# - [Your own labels, your own model](own_labels.py): if this model does not know your country.
# - [Name the bands](../how_to/name_the_bands.md): if your GeoTIFF has four bands and no names.
# - [Map a large scene](map_a_large_scene.py), and [open the map in QGIS](../how_to/open_the_map_in_qgis.md).
