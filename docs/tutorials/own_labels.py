# %% [markdown]
# # Your own labels, your own model
#
# The model that ships does not know your country. You have polygons of fields, and that is enough: cut chips from scene and polygons, train, measure,
# map. Here the polygons are those that people drew on the sample tile. One tile is far too little for a model that works elsewhere; it is
# enough to see the whole way.

# %%
import json
import os
import tempfile

from IPython.display import Image

from cropland.cli import main as cropland
from cropland.demo import FIELDS, FOLDER, TILE

os.chdir(tempfile.mkdtemp())
EPOCHS = "1" if os.environ.get("CROPLAND_SHORT") else "4"  # the tests run this page in its short form

# %% [markdown]
# ## Chips
#
# A chip is an image with its label. What lies outside the polygons is never assumed: `--background known` says that somebody looked, and it is not cropland.
# A quarter of the ground is kept for validation, with a gap around it, so that no field lies on both sides.

# %%
words = f"chips {TILE} --labels {FIELDS} --background known --size 128 --split validation=0.25 --out my_chips"
_ = cropland(words.split())

# %% [markdown]
# ## Train
#
# A recipe decides everything. The one of the sample is small, so that it learns in a minute:

# %%
print((FOLDER / "small.toml").read_text(encoding="utf-8"))

# %%
words = f"train {FOLDER / 'small.toml'} --chips my_chips --out my_run --set training.epochs={EPOCHS}"
_ = cropland(words.split())

# %% [markdown]
# Loss should fall and IoU should rise. If it was killed on the way, the same command would go on.

# %%
Image("my_run/curves.png", width=700)

# %% [markdown]
# Validation chips from worst to best, with label, probability and errors: look at the worst ones first.

# %%
Image("my_run/validation.png", width=900)

# %% [markdown]
# ## Measure, and map

# %%
_ = cropland("evaluate my_run/model.safetensors --chips my_chips --out my_report".split())
with open("my_report/metrics.json", encoding="utf-8") as file:
    pooled = json.load(file)["pooled"]

# %% [markdown]
# "All cropland" is what a map without any thought would reach. A model that is not better has learnt nothing.

# %%
_ = cropland(f"map {TILE} --model my_run/model.safetensors --out my_map".split())
Image("my_map/overview.png", width=900)

# %% [markdown]
# It has seen three quarters of this tile: the picture shows the way, not how well it maps elsewhere.
#
# ## Exercises
#
# 1. What does the model file say of itself? Which pixel does it work at, and with which threshold?
# 2. Is the IoU on the training chips higher than on the validation chips? What would it mean if it were much higher?
#
# Answers:

# %%
_ = cropland("show my_run/model.safetensors".split())

# %%
_ = cropland("evaluate my_run/model.safetensors --chips my_chips --split train --out my_report_train".split())
with open("my_report_train/metrics.json", encoding="utf-8") as file:
    train = json.load(file)["pooled"]
print(f"training {train['iou']:.3f}, validation {pooled['iou']:.3f}")

# %% [markdown]
# Much higher on the training side means that it knows its chips by heart: more ground helps, not more epochs.
#
# ## What to do next
#
# - [Label with polygons](../how_to/label_with_polygons.md): what lies outside, a survey's codes, rasters.
# - [Evaluate honestly](../how_to/evaluate_honestly.md): where to measure, and how to read the report.
# - [Choose a block](choose_a_block.py), and [train with little memory](../how_to/train_with_little_memory.md).
