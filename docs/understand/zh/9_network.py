# %% [markdown]
# # 9. 整个网络
#
# 各个部分都认识了。评价整个网络有四个总数，它们并不同步：参数（文件大小）、乘加（计算量）、保留的特征图（训练内存）和感受野（它能知道什么）。这里把随包的网络拆开，再另搭一个。

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

import cropland
from cropland.lab.measure import interleave, ratio
from cropland.lab.report import as_markdown
from cropland.lab.results import Results
from cropland.model import ModelFile, default_model
from cropland.networks.unet import UNet
from cropland.show import anatomy
from cropland.streaming.receptive_field import Field

_ = torch.manual_seed(0), torch.set_grad_enabled(False)
cpu = torch.device("cpu")

# %% [markdown]
# ## 拆开
#
# `anatomy` 就是 `cropland show` 打印的内容：每个部分的步幅、参数，以及影像每个像元的乘加。

# %%
model = ModelFile.load(default_model())
whole = anatomy(model.network(), 3, known=Field(model.radius, model.stride))
for layer in whole.layers:
    print(f"{layer.name:18} 步幅 {layer.stride:4g} {layer.parameters:10,} {layer.multiply_adds:10,.0f}")

# %% [markdown]
# 按步幅相加。参数集中在粗的一端，计算却不是：

# %%
strides = sorted({layer.stride for layer in whole.layers})
shares = {}
for name in ("parameters", "multiply_adds"):
    sums = [sum(getattr(layer, name) for layer in whole.layers if layer.stride == stride) for stride in strides]
    shares[name] = [each / sum(sums) for each in sums]
figure, axis = plt.subplots(figsize=(6, 2.6))
for shift, (name, its) in zip((-0.2, 0.2), shares.items(), strict=True):
    axis.bar([i + shift for i in range(len(strides))], its, 0.4, label=name.replace("_", "-"))
axis.set_xticks(range(len(strides)), [f"{stride:g}" for stride in strides])
axis.set_xlabel("stride")
axis.set_ylabel("share")
axis.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## 四个总数

# %%
network, held = model.network(), {}
weights = {p.data_ptr(): p.nbytes for p in network.parameters()}
hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: held.update({t.data_ptr(): t.nbytes}) or t, lambda t: t)
with torch.enable_grad(), hooks:
    y = network.train()(torch.rand(1, 3, 256, 256))
kept = sum(size for at, size in held.items() if at not in weights)
print(f"参数    {whole.parameters:,} = {sum(weights.values()) / 1e6:.1f} MB")
print(f"乘加 {whole.multiply_adds:,.0f} 每像元")
print(f"保留的特征图 {kept / 1e6:.0f} MB")
print(f"感受野 {2 * whole.radius + 1} 像元以内")

# %% [markdown]
# ## 另搭一个
#
# 每次只改一个选项，看表和秒表怎么说。

# %%
options = {"plain": (4, "convolution"), "separable": (4, "separable"), "shallow": (2, "convolution")}


def build(name):
    depth, convolution = options[name]
    down = {"width": 8, "depth": depth, "convolution": convolution}
    return UNet(3, width=8, encoder_options=down, convolution=convolution).eval()


networks = {name: build(name) for name in options}
seen = {name: anatomy(its, 3) for name, its in networks.items()}
for name, its in seen.items():
    print(f"{name:10} {its.parameters:8,} {its.multiply_adds:8,.0f} 感受野半径 {its.radius}")
x = torch.rand(1, 3, 256, 256)
times = interleave({name: lambda n=its: n(x) for name, its in networks.items()}, cpu, rounds=5)
for name in networks:
    print(f"{name:10} {times[name].ms} ms; plain / {name} {ratio(times['plain'], times[name])}")

# %% [markdown]
# ## 实验室怎么说

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in ("network.arithmetic", "network.parameters", "network.memory", "network.field"):
    display(Markdown(as_markdown(results, name, "zh")))

# %% [markdown]
# 十个常见的训练小技巧也逐个试过，用时相同。这是十个一起用的结果：

# %%
tricks = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "tricks" / "results.json")
display(Markdown(as_markdown(tricks, "tricks.all_ten", "zh")))

# %% [markdown]
# ## 练习
#
# 练习 1：把 U-Net 加宽一倍，参数变为多少倍？先猜再运行。
#
# 练习 2：浅的那个网络减半两次，再加第三次，感受野是只大一点，还是大约加倍？先猜再运行。
#
# 答案：

# %%
counts = []
for width in (8, 16):
    wide = UNet(3, width=width, encoder_options={"width": width})
    counts.append(sum(p.numel() for p in wide.parameters()))
print(counts, f"{counts[1] / counts[0]:.2f}")
assert 3.9 < counts[1] / counts[0] < 4  # 输入和输出通道都加倍；只有第一层仍是三个波段

# %%
deeper = anatomy(UNet(3, width=8, encoder_options={"width": 8, "depth": 3}), 3).radius
print(seen["shallow"].radius, "->", deeper)
assert 1.8 < deeper / seen["shallow"].radius < 2.5  # 最粗特征图的每一格宽一倍
