# %% [markdown]
# # 5. 转置卷积
#
# 上行时网络要把特征图放大一倍。一种做法是转置卷积：每个像元把一小片权重放到更大的图上，重叠的地方相加。它恢复的是形状，并不能找回丢掉的东西。

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from torch import nn
from torch.nn import functional as F

import cropland
from cropland.blocks.bilinear import bilinear
from cropland.blocks.transposed import transposed
from cropland.lab.measure import interleave, ratio
from cropland.lab.report import as_markdown
from cropland.lab.results import Results

_ = torch.manual_seed(0), torch.set_grad_enabled(False)
cpu = torch.device("cpu")

# %% [markdown]
# ## 为什么叫“转置”
#
# 卷积是一个矩阵 C：每个输出像元一行，每个输入像元一列。这里为 8 × 8 像元的影像和步幅 2 把它写出来。转置卷积就是乘以这个矩阵的转置。

# %%
kernel = torch.rand(1, 1, 3, 3)
units = torch.eye(64).reshape(64, 1, 8, 8)
C = F.conv2d(units, kernel, stride=2, padding=1).flatten(1).T
y = torch.rand(1, 1, 4, 4)
up = F.conv_transpose2d(y, kernel, stride=2, padding=1, output_padding=1)
print("C:", tuple(C.shape), " y:", tuple(y.shape), " up:", tuple(up.shape))
assert torch.allclose(C.T @ y.flatten(), up.flatten(), atol=1e-6)

# %%
figure, axes = plt.subplots(1, 2, figsize=(7, 3.4))
for axis, matrix, name in zip(axes, (C, C.T), ("C", "C'"), strict=True):
    axis.imshow(matrix, cmap="Greens")
    axis.set_title(name, fontsize=9)
plt.show()

# %% [markdown]
# ## 棋盘格从哪里来
#
# 用相等的权重放大一张均匀的影像：每个像元被覆盖几次？核不能被步幅整除时，还没开始学习，相邻像元就已经不同。


# %%
def coverage(k):
    return F.conv_transpose2d(torch.ones(1, 1, 6, 6), torch.ones(1, 1, k, k), stride=2)[0, 0]


figure, axes = plt.subplots(1, 4, figsize=(10, 2.7))
for axis, k in zip(axes, (2, 3, 4, 5), strict=True):
    print("核", k, coverage(k)[5, 5:9].int().tolist())
    axis.imshow(coverage(k), cmap="Greens", vmin=0)
    axis.set_title(str(k), fontsize=9)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## 形状
#
# 63 和 64 都缩成 32，回来的路无从知道原来是哪一个，除非告诉它。

# %%
down, back = nn.Conv2d(1, 1, 3, 2, 1), nn.ConvTranspose2d(1, 1, 3, 2, 1)
for size in (63, 64):
    y = down(torch.zeros(1, 1, size, size))
    print(size, "->", y.shape[-1], "->", back(y).shape[-1], "，告知后：", back(y, output_size=(size, size)).shape[-1])

# %% [markdown]
# ## 另一种放大方式
#
# `bilinear` 先减少通道再插值。轮流计时：

# %%
x = torch.rand(1, 64, 64, 64).contiguous(memory_format=torch.channels_last)
ways = {"transposed": transposed(64, 32), "bilinear": bilinear(64, 32)}
for name, way in ways.items():
    way.to(memory_format=torch.channels_last)
    print(f"{name:10}", tuple(way(x).shape), sum(p.numel() for p in way.parameters()), "参数")
times = interleave({name: lambda w=way: w(x) for name, way in ways.items()}, cpu, rounds=15)
print("transposed / bilinear:", f"{ratio(times['transposed'], times['bilinear'])}")

# %% [markdown]
# ## 实验室怎么说

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in ("transposed.values", "transposed.checkerboard", "transposed.cost", "transposed_trained.better"):
    display(Markdown(as_markdown(results, name, "zh")))

# %% [markdown]
# ## 练习
#
# 练习 1：核 3、步幅 2、填充 1 的转置卷积得到 10 × 10 像元，输出有多大？先猜再运行。
#
# 练习 2：影像先经 C 下行，再经转置上行。全为 1 的影像回来还是全为 1 吗？先猜再运行。
#
# 答案：

# %%
size = nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1)(torch.zeros(1, 1, 10, 10)).shape[-1]
print(size)
assert size == (10 - 1) * 2 + 3 - 2 * 1 == 19

# %%
returned = (C.T @ (C @ torch.ones(64))).reshape(8, 8)
print(f"{returned.min():.2f} – {returned.max():.2f}")
assert not torch.allclose(returned, torch.ones(8, 8))  # 转置不是逆
assert torch.linalg.matrix_rank(C) <= 16  # 64 个数只剩 16 个
