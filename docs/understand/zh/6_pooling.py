# %% [markdown]
# # 6. 池化
#
# 池化把几个像元（多为 2 × 2）变成一个：取最大值或平均值。每减半一次，像元只剩四分之一。这省时间、省内存，也让网络看得更远；代价是不再知道东西的确切位置。

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from torch import nn
from torch.nn import functional as F

import cropland
from cropland.blocks.average_pool import average_pool
from cropland.blocks.max_pool import max_pool
from cropland.blocks.strided import strided
from cropland.lab.measure import interleave
from cropland.lab.report import as_markdown
from cropland.lab.results import Results

_ = torch.manual_seed(0)
cpu = torch.device("cpu")

# %% [markdown]
# ## 三种减半方式
#
# 前两种没有参数；第三种是步幅卷积，怎样减半靠学习。

# %%
x = torch.rand(1, 16, 65, 64)
for name, make in (("max_pool", max_pool), ("average_pool", average_pool), ("strided", strided)):
    layer = make(16)
    print(f"{name:13}", tuple(layer(x).shape), sum(p.numel() for p in layer.parameters()), "参数")

# %% [markdown]
# ## 省下什么
#
# 同一个卷积，放在零到三次减半之后。像元每次减为四分之一，时间呢？

# %%
layer = nn.Conv2d(32, 32, 3, padding=1)
images = {str(n): torch.rand(1, 32, 256 >> n, 256 >> n) for n in range(4)}
times = interleave({n: torch.no_grad()(lambda x=x: layer(x)) for n, x in images.items()}, cpu, rounds=11)
for n, its in times.items():
    print(n, tuple(images[n].shape[2:]), f"{its.ms} ms")

# %% [markdown]
# ## 丢掉什么
#
# 两块田之间有一条六个像元宽的小路。减半，再放大回来，以 0.5 为界：小路还剩多少？图中是减半两次的情形。

# %%
mask = torch.zeros(1, 1, 64, 64)
mask[..., 5:60, 5:29] = mask[..., 5:60, 35:60] = 1
figure, axes = plt.subplots(1, 3, figsize=(8, 2.8))
axes[0].imshow(mask[0, 0], cmap="Greens")
for axis, (name, halve) in zip(axes[1:], (("max", F.max_pool2d), ("average", F.avg_pool2d)), strict=True):
    small, left = mask, []
    for n in (1, 2, 3):
        small = halve(small, 2)
        returned = F.interpolate(small, scale_factor=2**n, mode="bilinear")[0, 0] >= 0.5
        left.append(int((~returned[32, 29:35]).sum()))
        if n == 2:
            axis.imshow(returned, cmap="Greens")
    axis.set_title(name, fontsize=9)
    print(f"{name:8}", "减半 1、2、3 次后小路剩下的列数：", left)
plt.show()

# %% [markdown]
# ## 移动一个像元
#
# 卷积跟着影像走：影像移动，特征图也移动。减半之后，只有按粗特征图的整格移动时才是如此。

# %%
x = torch.rand(1, 1, 64, 64)
convolution = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
with torch.no_grad():
    for shift in (1, 2):
        moved = convolution(x.roll(shift, 3)), F.max_pool2d(x.roll(shift, 3), 2)
        expected = convolution(x).roll(shift, 3), F.max_pool2d(x, 2).roll(shift // 2, 3)
        print("移动", shift, [f"{float((a - b).abs().max()):.3f}" for a, b in zip(moved, expected, strict=True)])

# %% [markdown]
# 每个列表中，第一个数是卷积的差异，第二个是最大池化的差异。
#
# ## 实验室怎么说

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in ("pooling.work", "pooling_shift.equivariance", "pooling_boundary.fields", "pooling_trained.dispensable"):
    display(Markdown(as_markdown(results, name, "zh")))

# %% [markdown]
# ## 练习
#
# 练习 1：3 × 3 卷积后接一次减半，连续三组。感受野有多少像元宽？先猜再运行。
#
# 练习 2：影像像元为 2 m，减半几次之后，8 m 宽的小路就不足一个像元？先猜再运行。
#
# 答案：

# %%
layers = [layer for _ in range(3) for layer in (nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.AvgPool2d(2))]
for layer in layers[::2]:
    nn.init.ones_(layer.weight)
x = torch.zeros(1, 1, 128, 128, requires_grad=True)
y = nn.Sequential(*layers)(x)
y[0, 0, 8, 8].backward()
width = int((x.grad[0, 0] != 0).any(0).sum())
print(width)
assert width == 1 + (2 + 1) + (4 + 2) + (8 + 4)  # 卷积加两格，减半加一格

# %%
halvings = next(n for n in range(10) if 8 / (2 * 2**n) < 1)
print(halvings, "->", 2 * 2**halvings, "m")
assert halvings == 3
