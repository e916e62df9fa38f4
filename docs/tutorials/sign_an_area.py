# %% [markdown]
# # An area that can be signed
#
# A mask says how many hectares are mapped as cropland. It does not say how many hectares **are** cropland: what is mapped wrongly is counted wrongly.
# A random sample of pixels, looked at by a person, gives the area itself, with a margin of error. This page does it for the Sentinel-2 scene that comes
# with `cropland`, on the coast of Virginia.

# %%
import os
import tempfile

import cropland
from cropland.demo import FOLDER

os.chdir(tempfile.mkdtemp())  # a temporary folder for everything that this page writes

scene = cropland.open(FOLDER / "sentinel2_delmarva.tif")
mask = FOLDER / "area" / "mask.tif"  # what an earlier model mapped

# %% [markdown]
# ## Draw the points
#
# Sixty points are few; they are enough to learn how it is done. The points are drawn at random within two strata, which are the classes of the mask.
# If you know the margin of error that you need, give it instead: `margin=0.02` for two percentage points.

# %%
sample = cropland.design_sample(mask, "area_sample", n=60, imagery=scene)
sample

# %% [markdown]
# The same from the command line:
#
# ```bash
# cropland area design my_map/mask.tif --n 60 --imagery sentinel2_delmarva.tif --out area_sample
# ```
#
# The folder holds the points for QGIS and a sheet, which is one HTML file that works without a network:

# %%
sorted(os.listdir("area_sample"))

# %% [markdown]
# ## Look at the points
#
# Open `area_sample/sheet.html` in a browser. It shows the ground around each point from near and from far, and marks the pixel. Press **1** if the pixel is
# cropland, **0** if it is not, and **?** if you cannot tell. The sheet hides what the mask says, so that the mask does not persuade you. At the end save the
# answers as a CSV file.
#
# ![The sheet: a pixel from near and from far](sheet.jpg)
#
# For this page the sixty points were looked at once, which took some minutes. The answers come with `cropland`:

# %%
answers = FOLDER / "area" / "answers.csv"
print(answers.read_text(encoding="utf-8")[:150])

# %% [markdown]
# ## Estimate

# %%
estimate = cropland.estimate_area(mask, sample="area_sample/sample.gpkg", answers=[answers], out="my_area")
estimate

# %% [markdown]
# ```bash
# cropland area estimate my_map/mask.tif --sample area_sample/sample.gpkg --answers answers_me.csv --out my_area
# ```
#
# `my_area/report.html` has the error matrix, the accuracies and the strata; `area.csv` and `area.json` have the same figures for programs.
#
# ## What it says
#
# The mask counts far more cropland than the sample finds, and the whole interval lies below what was mapped:

# %%
low, high = estimate.interval_ha
mapped = estimate["mapped"]["cropland_ha"]
print(f"mapped {mapped:,.0f} ha; estimated {estimate.area_ha:,.0f} ha, 95 % interval {low:,.0f} to {high:,.0f} ha")
assert high < mapped

# %% [markdown]
# User's accuracy says why: about a third of the points that are mapped as cropland are something else. On the sheet they are woods and marsh between the fields. So this
# mask must not be used to report an area. The estimate can be used: its interval already contains these errors. If the interval is too wide
# for your purpose, draw more points; half the width needs four times as many.
#
# The model that ships maps another area of the same scene. The interval holds for the ground, whatever mask the points were drawn from, so this area can be compared with it:

# %%
again = cropland.Model.open().map(scene).area_ha
print(f"95 % interval {low:,.0f} to {high:,.0f} ha; mapped by the model that ships: {again:,.0f} ha")

# %% [markdown]
# An area within the interval is no proof: what a map misses in one place and adds in another may be equal.
#
# Four points could not be decided. They are left out, and the output states between which values the area would lie if none or all of them were cropland.
#
# ## Two people
#
# Two people rarely see the same. Let a second person answer the same sheet, and give both files: the output then reports how often they agree, and Cohen's
# kappa. In the sheet, **Compare** opens both files and shows only the points on which they differ; what you decide together is saved as `resolved.csv`.
#
# ```bash
# cropland area estimate my_map/mask.tif --sample area_sample/sample.gpkg --answers answers_a.csv answers_b.csv --resolved resolved.csv
# ```
#
# ## What to do next
#
# - [Estimate the area](../how_to/estimate_the_area.md): other strata, regions, two interpreters, and where the formulas come from.
# - [Evaluate honestly](../how_to/evaluate_honestly.md): if you have polygons to compare a map with.
