# %% [markdown]
# # A day in a land office
#
# An office holds the polygons of the land survey and receives a new image. Which cropland was lost, which is new, which plots are insured beyond what is
# planted, and how are the parcels handed in? This page goes through the day with the aerial image that comes with `cropland`. [中文版](land_office_zh.py)
#
# The survey here is made from the fields that people drew on this image, with four changes, so that there is something to find: two fields are missing,
# a piece of wood and swamp is entered as dry land, and one field is entered as a garden.

# %%
import os
import tempfile

import geopandas as gpd
import numpy as np
import rasterio
from IPython.display import Image
from shapely import box

import cropland
from cropland.demo import FIELDS, TILE

os.chdir(tempfile.mkdtemp())  # a temporary folder for everything that this page writes

fields = gpd.read_file(FIELDS)[["geometry"]].to_crs("EPSG:32615")
fields = fields[fields.area > 3000].reset_index(drop=True)
order = fields.area.sort_values(ascending=False).index
survey = fields.assign(DLBM="0103")
survey.loc[order[3], "DLBM"] = "0201"  # a field that the survey calls a garden
wood = gpd.GeoSeries([box(-93.7962, 45.3432, -93.7945, 45.3441)], crs=4326).to_crs(survey.crs)
survey.loc[len(survey)] = {"geometry": wood[0], "DLBM": "0103"}  # wood and swamp, as dry land
survey = survey.drop(index=order[[5, 7]]).reset_index(drop=True)  # two fields that the survey does not know
survey["BSM"] = [f"{number:05}" for number in range(1, len(survey) + 1)]
survey["投保亩"] = (survey.area / 1e4 * 15).round(1)
west, south, east, north = survey.total_bounds
middle = (west + east) / 2
survey["村"] = np.where(survey.centroid.x < middle, "李家村", "王家村")
survey.to_file("survey.gpkg")

# %% [markdown]
# ## Map the image without its clouds
#
# Satellite images come with a mask of clouds, such as the SCL of Sentinel-2. This aerial image has none, so we write a small one that hides its south-east
# corner. What a mask hides is no data in all that follows.

# %%
with rasterio.open(TILE) as file:
    clouds, about = np.zeros(file.shape, np.uint8), {"crs": file.crs, "transform": file.transform}
clouds[-150:, -200:] = 9
with rasterio.open("clouds.tif", "w", driver="GTiff", height=1024, width=1024, count=1, dtype="uint8", **about) as file:
    file.write(clouds, 1)

scene = cropland.open(TILE, mask="clouds.tif", mask_values=[9])
result = cropland.map(scene, "my_map")
Image("my_map/overview.png", width=700)

# %% [markdown]
# ```bash
# cropland map image.tif --mask clouds.tif --mask-values 9 --out my_map
# ```
#
# ## Compare the survey with the map
#
# The survey has the column `DLBM`, in which 0101, 0102 and 0103 are cropland. `background="known"` says that ground outside of its polygons is not cropland,
# so that a field there is a gain.

# %%
found = cropland.compare("survey.gpkg", result, background="known", id="BSM", by="村", out="comparison")
print(*found["notes"], sep="\n")
found

# %% [markdown]
# ```bash
# cropland compare survey.gpkg my_map --background known --id BSM --by 村 --out comparison
# ```
#
# The outlines lie a metre beside the image, as the notes say, which is why a gain must be wider than three metres.
#
# The field that is called a garden and the piece of wood are the two polygons on which the map disagrees most surely. The garden is cropland on the map, and the wood
# is not.

# %%
found.polygons.sort_values("rank")[
    ["rank", "BSM", "DLBM", "cropland_share", "mean_probability", "unknown_share", "disagreement"]
].head(4)

# %% [markdown]
# `comparison/report.html` shows each of them on the image:
#
# ![The report: the polygons on which the map disagrees most surely](comparison.jpg)
#
# The garden and the two fields that the survey does not know are the largest gains. Strips along the edges of fields are gains too where the survey leaves a margin
# that the map calls cropland; `min_width_m` asks for a larger width, and `min_area_m2` for a larger area.

# %%
found = cropland.compare("survey.gpkg", result, background="known", id="BSM", by="村", min_width_m=15, min_area_m2=2000)
found.changes[["kind", "area_ha", "area_mu", "mean_probability", "code", "polygon"]].head(6)

# %%
found.by("村")

# %% [markdown]
# ## Say who is right
#
# Open `comparison/compare.qgs` in QGIS. Polygons on which the map disagrees are coloured, and so are gains and losses. The column `verdict` offers **the map is
# right**, **the polygon is right** and **cannot tell**. The map errs too: here it takes some wetland for cropland. If it errs often, [correct it](../how_to/correct_a_map.md)
# and tune the model before you go on.
#
# ## Insured plots
#
# The same command measures insured plots. Name the column of the insured area, in mu here:

# %%
plots = cropland.compare("survey.gpkg", result, insured_mu="投保亩", id="BSM", by="村")
over = plots.polygons.sort_values("over_insured_ha", ascending=False)
over[["BSM", "insured_ha", "cropland_ha", "over_insured_ha", "insured_not_cropland_ha"]].head(3)

# %% [markdown]
# Most of the insured area of the wood is more than what is planted there. The plot under the cloud is not over-insured: what the map does not know counts for the
# farmer.
#
# ## Deliver the parcels
#
# The parcels of the map are cut by village, slivers of less than 0.6 mu are united with a neighbour, the ridges between fields are deducted, and the columns get
# the names that the office wants. This is the layer of villages:

# %%
halves = [box(west - 500, south - 500, middle, north + 500), box(middle, south - 500, east + 500, north + 500)]
gpd.GeoDataFrame({"村": ["李家村", "王家村"]}, geometry=halves, crs=survey.crs).to_file("villages.gpkg")

delivery = cropland.deliver(
    result,
    "DLTB.shp",
    by="villages.gpkg",
    name="村",
    min_area_m2=400,
    deduction=0.06,
    code={"DLBM": "0103"},
    rename={"area_m2": "TBMJ", "deduction": "KCXS", "deducted_m2": "KCMJ", "net_m2": "TBDLMJ", "region": "村名"},
    encoding="GBK",
)
print(*delivery.notes, sep="\n")
delivery.regions

# %% [markdown]
# ```bash
# cropland deliver my_map --out DLTB.shp --encoding GBK --by villages.gpkg --name 村 --min-area-mu 0.6 --deduction 0.06 --code DLBM=0103 --rename area_m2=TBMJ --rename deduction=KCXS --rename deducted_m2=KCMJ --rename net_m2=TBDLMJ --rename region=村名
# ```
#
# A name in a shapefile has ten bytes, and what does not fit is told. With `DLTB.gpkg` or `DLTB.gdb` names stay whole. The topology report beside the file counts
# what a checker would object to:

# %%
delivery.topology.counts()
