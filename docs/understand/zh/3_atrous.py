# %% [markdown]
# # 3. 空洞卷积
#
# 要判断一个像元是不是耕地，必须看得足够远。空洞卷积把九个采样点按“空洞率”拉开：参数不变，看得更远，特征图大小也不变。代价是：空洞率重复时会出现空隙。

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from torch import nn
from torch.nn import functional as F

import cropland
from cropland.blocks.atrous import Atrous
from cropland.lab.measure import interleave, ratio
from cropland.lab.report import as_markdown
from cropland.lab.results import Results

_ = torch.manual_seed(0), torch.set_grad_enabled(False)
cpu = torch.device("cpu")

# %% [markdown]
# ## 大小不变，参数不变
#
# 这里只改空洞率。再与步幅为 2 的卷积比较形状。

# %%
x = torch.rand(1, 8, 64, 64)
for rate in (1, 2, 5):
    block = Atrous(8, 8, rate=rate)
    print(f"空洞率 {rate}:", tuple(block(x).shape), block.convolution.weight.numel(), "参数")
print("步幅 2：", tuple(nn.Conv2d(8, 8, 3, stride=2, padding=1)(x).shape))

# %% [markdown]
# ## 感受野
#
# 数一数每个像元有多少条路径到达正中的输出像元。有路径的像元就在感受野里。改改空洞率试试。


# %%
def paths(rates):
    edge = 2 * sum(rates) + 1
    y = torch.zeros(1, 1, edge, edge)
    y[..., edge // 2, edge // 2] = 1
    for rate in rates:
        y = F.conv2d(y, torch.ones(1, 1, 3, 3), padding=rate, dilation=rate)
    return y[0, 0]


for rates in ((1, 1, 1), (2, 2, 2), (1, 2, 3), (4, 4, 4), (1, 3, 8)):
    found = paths(rates)
    print(rates, f"{len(found)} x {len(found)},", f"{(found > 0).float().mean():.0%} 可到达")

# %% [markdown]
# 看图更快：白色像元完全不起作用，影像分成互不相交的几组网格。

# %%
figure, axes = plt.subplots(1, 4, figsize=(11, 2.9))
for axis, rates in zip(axes, ((1, 1, 1), (2, 2, 2), (1, 2, 3), (4, 4, 4)), strict=True):
    axis.imshow(paths(rates).sqrt(), cmap="Greens")
    axis.set_title("-".join(map(str, rates)), fontsize=9)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## 代价
#
# 无论空洞率多大，运算量都一样。时间呢？

# %%
x = torch.rand(1, 64, 96, 96).contiguous(memory_format=torch.channels_last)
blocks = {rate: Atrous(64, 64, rate=rate).eval().to(memory_format=torch.channels_last) for rate in (1, 4, 12)}
times = interleave({str(rate): lambda b=block: b(x) for rate, block in blocks.items()}, cpu, rounds=15)
for rate, its in times.items():
    print(f"空洞率 {rate:>2}: {its.ms} ms")
print(f"12 / 1: {ratio(times['12'], times['1'])}")

# %% [markdown]
# ## 实验室怎么说

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in ("atrous.field", "atrous_cost.shape", "atrous_cost.time", "atrous_gridding.gaps"):
    display(Markdown(as_markdown(results, name, "zh")))

# %% [markdown]
# ## 练习
#
# 练习 1：空洞率 1、2、5 依次叠加，感受野有多宽，其中有空隙吗？先猜再运行。
#
# 练习 2：空洞率 3-3-3 能到达感受野的多大比例？先猜再运行。
#
# 答案：

# %%
found = paths((1, 2, 5))
print(len(found), bool((found > 0).all()))
assert len(found) == 1 + 2 * (1 + 2 + 5)  # 每层在两侧各加上自己的空洞率
assert (found > 0).all()

# %%
found = paths((3, 3, 3))
print(f"{int((found > 0).sum())} / {found.numel()}")
assert int((found > 0).sum()) == 7 * 7 and found.numel() == 19 * 19  # 每隔两行两列才有一个
