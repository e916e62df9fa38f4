# %% [markdown]
# # 2. 卷积
#
# 网络所做的几乎只有一种运算：看一个像元和它的邻居，把每个数乘以权重再相加，所有像元共用同一组权重。这就是卷积，它不过是一次矩阵乘法。

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import cropland
from cropland.lab.chapters.walk.through import chip_of, ground_of
from cropland.lab.measure import interleave, ratio
from cropland.lab.report import as_markdown
from cropland.lab.results import Results

_ = torch.manual_seed(0), torch.set_grad_enabled(False)
cpu = torch.device("cpu")

# %% [markdown]
# ## 手算一个像元
#
# 取 3 × 3 个权重和一个像元，它的新值是九个乘积之和。

# %%
x, w = torch.rand(1, 1, 6, 6), torch.rand(1, 1, 3, 3)
by_hand = (x[0, 0, 1:4, 2:5] * w[0, 0]).sum()
y = F.conv2d(x, w, padding=1)
print(float(by_hand), float(y[0, 0, 2, 3]))
assert torch.isclose(by_hand, y[0, 0, 2, 3])

# %% [markdown]
# ## 看得懂的卷积核
#
# 权重决定看到什么：求平均会模糊，右减左能找到边缘。改改数字再看。

# %%
grey = chip_of(ground_of(cpu)).image.mean(1, keepdim=True)
kernels = {"mean": torch.full((3, 3), 1 / 9), "right - left": torch.tensor([[-1.0, 0, 1]] * 3)}
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
axes[0].imshow(grey[0, 0], cmap="gray")
for axis, (name, kernel) in zip(axes[1:], kernels.items(), strict=True):
    axis.imshow(F.conv2d(grey, kernel[None, None], padding=1)[0, 0], cmap="gray")
    axis.set_title(name, fontsize=9)
for axis in axes:
    axis.axis("off")
plt.show()

# %% [markdown]
# ## 矩阵乘法
#
# 把每个像元处卷积核覆盖的数写成一列（`unfold`），权重按输出通道每个一行，两者相乘就是卷积。

# %%
x, w = torch.randn(1, 32, 96, 96), torch.randn(32, 32, 3, 3)
columns = F.unfold(x, 3, padding=1)[0]
product = (w.flatten(1) @ columns).reshape(1, 32, 96, 96)
y = F.conv2d(x, w, padding=1)
print(tuple(w.flatten(1).shape), "x", tuple(columns.shape), "=", tuple(product.shape))
print("最大差异（占最大值的比例）：", float((product - y).abs().max() / y.abs().max()))

# %% [markdown]
# 这个矩阵把影像的每个数写了九遍。库函数真的会把它写出来吗？两种做法轮流计时。

# %%
runs = {
    "unfold, multiply": lambda: w.flatten(1) @ F.unfold(x, 3, padding=1)[0],
    "conv2d": lambda: F.conv2d(x, w, padding=1),
}
times = interleave(runs, cpu, rounds=15)
for name, its in times.items():
    print(f"{name:17} {its.ms} ms")
print(f"{ratio(times['unfold, multiply'], times['conv2d'])}", "倍的时间")

# %% [markdown]
# ## 计数
#
# 一层还没搭建就能算出两个数。参数：核 × 核 × 输入通道 × 输出通道；乘加：每个输出像元各做一遍。

# %%
for channels, edge in ((16, 128), (32, 64), (64, 32)):
    parameters = 3 * 3 * channels * channels
    print(f"{channels:3} 通道, {edge:3} 像元: {parameters:6,} 参数, {parameters * edge**2:,} 乘加")

# %% [markdown]
# 通道加倍、边长减半：参数变为四倍，计算量不变。

# %% [markdown]
# ## 实验室怎么说

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in ("convolution.product", "convolution_arithmetic.parameters", "convolution_layers.equal"):
    display(Markdown(as_markdown(results, name, "zh")))

# %% [markdown]
# ## 练习
#
# 练习 1：一个 5 × 5 卷积把 16 个通道变成 32 个，步幅为 2，作用在 128 × 128 像元上。它有多少参数（无偏置），做多少次乘加？先猜再运行。
#
# 练习 2：三个不填充的 3 × 3 卷积依次作用在 64 × 64 像元上，结果有多大？先猜再运行。
#
# 答案：

# %%
layer = nn.Conv2d(16, 32, 5, stride=2, padding=2, bias=False)
with FlopCounterMode(display=False) as counter:
    layer(torch.zeros(1, 16, 128, 128))
print(layer.weight.numel(), counter.get_total_flops() // 2)
assert layer.weight.numel() == 5 * 5 * 16 * 32
assert counter.get_total_flops() // 2 == 5 * 5 * 16 * 32 * 64 * 64  # 边长减半：像元只剩四分之一

# %%
three = nn.Sequential(*(nn.Conv2d(1, 1, 3) for _ in range(3)))
size = tuple(three(torch.zeros(1, 1, 64, 64)).shape[2:])
print(size)
assert size == (58, 58)  # 每层在每一边各少一个像元
