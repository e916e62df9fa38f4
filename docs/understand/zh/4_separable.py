# %% [markdown]
# # 4. 深度可分离卷积
#
# 普通卷积同时混合邻域和通道。深度可分离卷积分两步做：先在每个通道内部看邻域（逐通道），再在每个像元上混合各通道（逐点）。参数降到近九分之一，时间却没有，这正是本章要讲的。

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from torch import nn
from torch.nn import functional as F

import cropland
from cropland.lab.measure import interleave, ratio
from cropland.lab.report import as_markdown
from cropland.lab.results import Results

_ = torch.manual_seed(0), torch.set_grad_enabled(False)
cpu = torch.device("cpu")

# %% [markdown]
# ## 两步
#
# 两种层都把 64 个通道变成 64 个。看看形状。

# %%
C, EDGE = 64, 128
ordinary = nn.Conv2d(C, C, 3, padding=1, bias=False)
depthwise = nn.Conv2d(C, C, 3, padding=1, groups=C, bias=False)
pointwise = nn.Conv2d(C, C, 1, bias=False)
x = torch.randn(1, C, EDGE, EDGE)
print(tuple(x.shape), "->", tuple(depthwise(x).shape), "->", tuple(pointwise(depthwise(x)).shape))

# %% [markdown]
# ## 承诺
#
# 每个权重在每个像元上用一次，所以参数和乘加减少同样的倍数：通道数为 C 时是 9 C / (9 + C)。

# %%
layers = {"ordinary": [ordinary], "separable": [depthwise, pointwise]}
weights = {name: sum(layer.weight.numel() for layer in its) for name, its in layers.items()}
print(weights, f"{weights['ordinary'] / weights['separable']:.2f} 倍之差")
for channels in (8, 16, 64, 256):
    print(channels, f"{9 * channels / (9 + channels):.2f}")

# %% [markdown]
# ## 秒表怎么说
#
# 现在在这台机器上轮流计时。

# %%
for layer in (ordinary, depthwise, pointwise):
    layer.to(memory_format=torch.channels_last)
x = x.contiguous(memory_format=torch.channels_last)
runs = {
    "ordinary": lambda: ordinary(x),
    "separable": lambda: pointwise(depthwise(x)),
    "depthwise": lambda: depthwise(x),
    "pointwise": lambda: pointwise(x),
}
times = interleave(runs, cpu, rounds=15)
for name, its in times.items():
    print(f"{name:10} {its.ms} ms")
print(
    "承诺",
    f"{weights['ordinary'] / weights['separable']:.2f},",
    "实测",
    f"{ratio(times['ordinary'], times['separable'])}",
)

# %% [markdown]
# 每秒完成的运算量说明是哪一步落后。人们常怪内存；实验室的发现见下面第二条。

# %%
work = {"ordinary": 9 * C * C, "depthwise": 9 * C, "pointwise": C * C}
rates = {name: each * EDGE**2 / times[name].number.value / 1e9 for name, each in work.items()}
plt.figure(figsize=(6, 1.8))
plt.barh(list(rates), list(rates.values()), color="seagreen")
plt.xlabel("10^9 multiply-adds / s")
plt.gca().invert_yaxis()
plt.show()

# %% [markdown]
# ## 实验室怎么说

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in (
    "separable_layer.waterfall",
    "separable_causes.memory",
    "separable_remedy.ratio",
    "separable_trained.whole",
):
    display(Markdown(as_markdown(results, name, "zh")))

# %% [markdown]
# ## 练习
#
# 练习 1：16 个通道时，乘加减少多少倍？先猜再运行。
#
# 练习 2：普通卷积能给出与可分离卷积相同的结果吗？如果能，权重是什么？先猜再运行。
#
# 答案：

# %%
factor = (9 * 16 * 16) / (9 * 16 + 16 * 16)
print(factor)
assert factor == 9 * 16 / (9 + 16) == 5.76

# %%
# 外积：输出、输入、行、列
equal = pointwise.weight * depthwise.weight.transpose(0, 1)
print(tuple(equal.shape))
one, other = F.conv2d(x, equal, padding=1), pointwise(depthwise(x))
print("最大差异", float((one - other).abs().max()))
assert torch.allclose(one, other, atol=1e-4)  # 反过来不行：普通卷积核很少恰好是这种乘积
