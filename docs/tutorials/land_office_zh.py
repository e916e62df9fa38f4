# %% [markdown]
# # 国土部门的一天
#
# 手里有国土调查的图斑，又收到一期新影像：哪些耕地减少了，哪些是新增的，哪些地块的投保面积超过实际种植面积，地块又怎样提交？本页用 `cropland` 自带的航空影像走完这一天。
# [English](land_office.py)
#
# 这里的调查图斑由人工在这幅影像上勾画的田块做成，并有四处改动，好让对比有所发现：缺两块田，一片树林和沼泽登记为旱地，一块田登记为果园。

# %%
import os
import tempfile

os.environ["CROPLAND_LANG"] = "zh"  # 报告、工程和说明用中文；在 import cropland 之前设置

import geopandas as gpd
import numpy as np
import rasterio
from IPython.display import Image
from shapely import box

import cropland
from cropland.demo import FIELDS, TILE
from cropland.language import shown

os.chdir(tempfile.mkdtemp())  # 本页写出的文件都放在这个临时文件夹里

fields = gpd.read_file(FIELDS)[["geometry"]].to_crs("EPSG:32615")
fields = fields[fields.area > 3000].reset_index(drop=True)
order = fields.area.sort_values(ascending=False).index
survey = fields.assign(DLBM="0103")
survey.loc[order[3], "DLBM"] = "0201"  # 调查登记为果园的田
wood = gpd.GeoSeries([box(-93.7962, 45.3432, -93.7945, 45.3441)], crs=4326).to_crs(survey.crs)
survey.loc[len(survey)] = {"geometry": wood[0], "DLBM": "0103"}  # 登记为旱地的树林和沼泽
survey = survey.drop(index=order[[5, 7]]).reset_index(drop=True)  # 调查中没有的两块田
survey["BSM"] = [f"{number:05}" for number in range(1, len(survey) + 1)]
survey["投保亩"] = (survey.area / 1e4 * 15).round(1)
west, south, east, north = survey.total_bounds
middle = (west + east) / 2
survey["村"] = np.where(survey.centroid.x < middle, "李家村", "王家村")
survey.to_file("survey.gpkg")

# %% [markdown]
# ## 去掉云，绘制耕地图
#
# 卫星影像带有云掩膜，例如 Sentinel-2 的 SCL。这幅航空影像没有，所以我们写一个小掩膜，遮去它的东南角。掩膜遮去的地方，在以后各步中都是无数据。

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
# ## 图斑与耕地图对比
#
# 图斑有 `DLBM` 列，其中 0101、0102、0103 是耕地。`background="known"` 表示图斑以外的地面不是耕地，因此那里的田块算新增。

# %%
found = cropland.compare("survey.gpkg", result, background="known", id="BSM", by="村", out="comparison")
print(*map(shown, found["notes"]), sep="\n")
found

# %% [markdown]
# ```bash
# cropland compare survey.gpkg my_map --background known --id BSM --by 村 --out comparison
# ```
#
# 说明中写着，轮廓与影像相差一米，所以新增的耕地要宽于三米。
# 耕地图与编码最明显不符的两个图斑，是登记为果园的那块田和那片树林。前者在图上是耕地，后者不是。

# %%
found.polygons.sort_values("rank")[
    ["rank", "BSM", "DLBM", "cropland_share", "mean_probability", "unknown_share", "disagreement"]
].head(4)

# %% [markdown]
# `comparison/report.html` 在影像上逐一显示它们：
#
# ![报告：耕地图与编码最明显不符的图斑](comparison_zh.jpg)
#
# 最大的新增图斑是登记为果园的田和调查中没有的两块田。如果图斑没有画到田边，沿田边的条带也会算作新增；`min_width_m` 要求更大的宽度，`min_area_m2` 要求更大的面积。

# %%
found = cropland.compare("survey.gpkg", result, background="known", id="BSM", by="村", min_width_m=15, min_area_m2=2000)
found.changes[["kind", "area_ha", "area_mu", "mean_probability", "code", "polygon"]].head(6)

# %%
found.by("村")

# %% [markdown]
# ## 判断谁是对的
#
# 在 QGIS 中打开 `comparison/compare.qgs`。不一致的图斑以及新增、减少的图斑都着了色。`verdict` 列可选**耕地图正确**、**图斑正确**和**无法判断**。耕地图也会出错：这里它把一些湿地当成了耕地。
# 如果它常常出错，先[修正它](../how_to/correct_a_map.md)并微调模型，再继续。
#
# ## 投保地块
#
# 同一个命令也测量投保地块。指明投保面积所在的列，这里以亩计：

# %%
plots = cropland.compare("survey.gpkg", result, insured_mu="投保亩", id="BSM", by="村")
over = plots.polygons.sort_values("over_insured_ha", ascending=False)
over[["BSM", "insured_ha", "cropland_ha", "over_insured_ha", "insured_not_cropland_ha"]].head(3)

# %% [markdown]
# 那片树林的投保面积大多超出了实际种植。云下的地块不算超额：情况未知的部分按有利于农户的原则计算。
#
# ## 提交地块
#
# 耕地图的地块按村分割，小于 0.6 亩的碎片并入相邻地块，扣除田坎，列名改成主管部门要求的名称。村界文件如下：

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
print(*map(shown, delivery.notes), sep="\n")
delivery.regions

# %% [markdown]
# ```bash
# cropland deliver my_map --out DLTB.shp --encoding GBK --by villages.gpkg --name 村 --min-area-mu 0.6 --deduction 0.06 --code DLBM=0103 --rename area_m2=TBMJ --rename deduction=KCXS --rename deducted_m2=KCMJ --rename net_m2=TBDLMJ --rename region=村名
# ```
#
# Shapefile 的列名最多十个字节，放不下的会说明。用 `DLTB.gpkg` 或 `DLTB.gdb` 时列名保持完整。文件旁边的拓扑报告统计检查人员会指出的问题：

# %%
delivery.topology.counts()
