# %% [markdown]
# # Your own labels, your own model
#
# The model that ships does not know your country. You have polygons of fields, and that is enough: cut chips from the scene and the polygons, train,
# measure, and map. Here the polygons are those that people drew on the sample tile. One tile is far too little for a model that works elsewhere, but it
# is enough to see every step.

# %%
import os
import tempfile

from IPython.display import Image

import cropland
from cropland.demo import FIELDS, FOLDER, TILE
from cropland.recipe import read_recipe

os.chdir(tempfile.mkdtemp())  # a temporary folder for everything that this page writes
EPOCHS = 1 if os.environ.get("CROPLAND_SHORT") else 4  # the tests run this page in its short form

# %% [markdown]
# ## Chips
#
# A chip is an image with its label. The program never assumes what lies outside the polygons: `background="known"` says that somebody looked there and
# that it is not cropland. A quarter of the ground is kept for validation, with a gap around it, so that no field lies on both sides.

# %%
report = cropland.cut_chips(TILE, FIELDS, "my_chips", background="known", size=128, validation=0.25)
report

# %% [markdown]
# The same from the command line, here and below:
#
# ```bash
# cropland chips naip_minnesota.tif --labels naip_minnesota_fields.geojson --background known --size 128 --split validation=0.25 --out my_chips
# ```
#
# `report.chips` is a GeoDataFrame with one row for each chip. The shares say how much of a chip is cropland, other land, and unknown.

# %%
shares = ["share_cropland", "share_other", "share_unknown"]
report.chips.groupby("split")[shares].agg("mean").round(3)

# %% [markdown]
# ## Train
#
# A recipe decides everything about a model. The recipe of the sample is small, so that the network learns in a minute. Here it trains for fewer epochs than
# the file says:

# %%
recipe = read_recipe(FOLDER / "small.toml", [f"training.epochs={EPOCHS}"])
print((FOLDER / "small.toml").read_text(encoding="utf-8"))

# %%
model = cropland.train(recipe, "my_chips", "my_run")
model

# %% [markdown]
# ```bash
# cropland train small.toml --chips my_chips --out my_run --set training.epochs=4
# ```
#
# If a training is stopped, the same call or the same command continues it. The loss should fall and the IoU should rise:

# %%
Image("my_run/curves.png", width=700)

# %% [markdown]
# These are the validation chips from worst to best, with label, probability and errors. Look at the worst ones first.

# %%
Image("my_run/validation.png", width=900)

# %% [markdown]
# ## Measure
#
# The model is measured on the validation chips. `my_report/report.html` has the figures of each group and pictures of the best and the worst chips.

# %%
evaluation = cropland.evaluate(model, chips="my_chips", out="my_report")
evaluation

# %% [markdown]
# ```bash
# cropland evaluate my_run/model.safetensors --chips my_chips --out my_report
# ```
#
# A map that says cropland everywhere has an IoU too. A model that is not better than that has learnt nothing.

# %%
print(f"model {evaluation.iou:.3f}, all cropland {evaluation['all_cropland']['iou']:.3f}")

# %% [markdown]
# ## Map

# %%
result = model.map(TILE)
result

# %% [markdown]
# ```bash
# cropland map naip_minnesota.tif --model my_run/model.safetensors --out my_map
# ```
#
# The model has seen three quarters of this tile. The picture shows how to work, not how well the model maps elsewhere.
#
# ## Exercises
#
# 1. Which pixel size does the model work at, and with which threshold?
# 2. Is the IoU on the training chips higher than on the validation chips? What would it mean if it were much higher?
#
# Answers:

# %%
saved = cropland.Model.open("my_run/model.safetensors")
for pixel in saved.file.working_pixels:
    print(f"{pixel.pixel_m:g} m: threshold {pixel.threshold:.3f}, validation IoU {pixel.iou:.3f}")

# %% [markdown]
# `cropland show my_run/model.safetensors` prints this and the layers of the network.

# %%
training = cropland.evaluate(model, chips="my_chips", split="train", allow_training_chips=True)
print(f"training {training.iou:.3f}, validation {evaluation.iou:.3f}")

# %% [markdown]
# A much higher IoU on the training chips means that the model knows its chips by heart. It then needs more ground, not more epochs.
#
# ## What to do next
#
# - [Label with polygons](../how_to/label_with_polygons.md): what lies outside, the codes of a survey, rasters.
# - [Train a model of your own](../how_to/train_your_own_model.md): fields that come apart, pixel sizes, variation, which epoch is kept.
# - [Evaluate honestly](../how_to/evaluate_honestly.md): where to measure, and how to read the report.
# - [Choose a block](choose_a_block.py), and [train with little memory](../how_to/train_with_little_memory.md).
