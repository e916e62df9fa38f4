# %% [markdown]
# # 1. 一块田穿过网络
#
# 寻找耕地的网络是一连串简单的步骤，每一步把一叠图（特征图）变成另一叠图。下行时图越来越小、越来越多；上行时又逐渐变大，最后影像的每个像元得到一个数。本章跟着一块真实影像走完全程。

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

import cropland
from cropland.lab.chapters.walk.through import chip_of, ground_of
from cropland.lab.measure import interleave, ratio
from cropland.lab.report import as_markdown
from cropland.lab.results import Results

_ = torch.manual_seed(0), torch.set_grad_enabled(False)

# %% [markdown]
# ## 影像
#
# 示例是一幅航空影像，随包模型以 2 m 的像元来看它。我们裁出一块，并载入网络。

# %%
cpu = torch.device("cpu")
chip = chip_of(ground_of(cpu))
network, image = chip.network, chip.image
print("影像：批次、波段、行、列 =", tuple(image.shape))

# %% [markdown]
# ## 下行
#
# 网络的前一半叫编码器。从上到下读这张表：什么在减半，什么在增加？

# %%
maps = network.encoder(image)
for y in maps:
    stride = image.shape[-1] // y.shape[-1]
    print(f"步幅 {stride:2d}: {tuple(y.shape[1:])} = {y.numel() / image.numel():.2f} 倍于影像的数")

# %% [markdown]
# 下图是这块影像，以及每个特征图中变化最大的一个通道：先是边缘，再是纹理，最后是整片地方。

# %%
figure, axes = plt.subplots(1, len(maps) + 1, figsize=(12, 2.3))
axes[0].imshow(chip.picture)
for axis, y in zip(axes[1:], maps, strict=True):
    axis.imshow(y[0, y[0].flatten(1).std(1).argmax()], cmap="viridis")
    axis.set_title(f"{image.shape[-1] // y.shape[-1]}", fontsize=9)
for axis in axes:
    axis.axis("off")
plt.show()

# %% [markdown]
# ## 上行
#
# 后一半叫解码器：一次次放大一倍，并拼接下行时较细的特征图（跳跃连接）。每个像元最后的那个数变成概率。

# %%
probability = network(image).sigmoid()[0, 0]
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
for axis, picture in zip(axes, (chip.picture, probability, chip.label == 1), strict=True):
    axis.imshow(picture, cmap="gray")
    axis.axis("off")
plt.show()

# %% [markdown]
# 从左到右：影像、概率、人工勾绘的田块。时间花在哪一半？让两者轮流计时，机器受到的干扰就会同样落在两者身上。

# %%
runs = {"encoder": lambda: network.encoder(image), "network": lambda: network(image)}
times = interleave(runs, cpu, rounds=5)
for name, its in times.items():
    print(f"{name:8} {its.ms} ms")
print("整个网络用时是编码器的", f"{ratio(times['network'], times['encoder'])}", "倍")

# %% [markdown]
# ## 实验室怎么说
#
# cropland 的实验室把人们对网络的看法写成一句话，加以测量，再按事先定好的界限下结论。下面从实验结果中读取；括号里是数值的区间。

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
print(results.name, results.machine["threads"], "线程\n")
for name in ("walk.stages", "walk_detail.ways", "walk_extent.field"):
    display(Markdown(as_markdown(results, name, "zh")))

# %% [markdown]
# ## 练习
#
# 练习 1：一幅影像有 300 行、500 列，最粗的特征图有多大？先猜再运行。
#
# 练习 2：把最粗的特征图置零，再改为把最细的置零。哪一个使掩膜变化更大？先猜再运行。
#
# 答案：

# %%
coarsest = network.encoder(torch.zeros(1, 3, 300, 500))[-1]
print(tuple(coarsest.shape[2:]))
assert tuple(coarsest.shape[2:]) == (-(-300 // 32), -(-500 // 32))  # 每次减半都向上取整

# %%
mask = probability >= chip.threshold
for name, index in (("最粗", -1), ("最细", 0)):
    changed = [y * (i != index % len(maps)) for i, y in enumerate(maps)]
    hook = network.encoder.register_forward_hook(lambda module, inputs, found, changed=changed: changed)
    other = network(image).sigmoid()[0, 0] >= chip.threshold
    hook.remove()
    print(name, f"{(other != mask).float().mean():.1%}", "的掩膜改变")
