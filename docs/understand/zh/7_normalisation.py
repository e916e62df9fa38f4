# %% [markdown]
# # 7. 归一化
#
# 卷积之后，一个通道里的数可能很大，也可能很小。批归一化先减去均值、除以标准差，再用两个学来的数做缩放和平移。有三件事容易混淆：什么是学习的，什么是统计的，什么是冻结的。

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import cropland
from cropland.blocks.batch_norm import batch_norm
from cropland.blocks.channel_norm import ChannelNorm
from cropland.blocks.group_norm import group_norm
from cropland.lab.measure import interleave, ratio
from cropland.lab.report import as_markdown
from cropland.lab.results import Results

_ = torch.manual_seed(0)
cpu = torch.device("cpu")

# %% [markdown]
# ## 学习的与统计的
#
# gamma 和 beta 是参数，由梯度改动。滑动均值和方差是缓冲区，由 `train()` 下的前向传播写入，梯度从不碰它们。

# %%
norm = batch_norm(8)
print("学习：", [name for name, _ in norm.named_parameters()])
print("统计：", [name for name, _ in norm.named_buffers()])
x = torch.randn(4, 8, 32, 32) * 5 + 3
y = norm(x).detach()
print(f"输入 {x.mean():.2f} ± {x.std():.2f}, 输出 {y.mean():.2f} ± {y.std():.2f}")
print("running_mean", [round(value, 2) for value in norm.running_mean[:4].tolist()])

# %% [markdown]
# ## train() 与 eval()
#
# 在 `train()` 下，一个样本与同批次的其他样本一起归一化；在 `eval()` 下用滑动统计量。所以同一张影像会有两种结果。

# %%
one = x[:1]
with torch.no_grad():
    for _ in range(200):
        norm(x)
    alone, fixed = batch_norm(8).train()(one), norm.eval()(one)
    beside = norm.train()(torch.cat([one, one * 0]))[:1]
for name, y in (("train(), alone", alone), ("train(), beside zeros", beside), ("eval()", fixed)):
    print(f"{name:22} {y.mean():6.2f} ± {y.std():.2f}")

# %% [markdown]
# ## 每一深度的梯度
#
# 二十层，有归一化与没有归一化。每个点是到达该层的梯度大小。

# %%
plt.figure(figsize=(6, 2.6))
for make in (nn.Identity, batch_norm, ChannelNorm):
    torch.manual_seed(0)
    y, maps = torch.rand(4, 16, 32, 32), []
    for _ in range(20):
        norm = make(16)
        y = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), norm, nn.ReLU())(y)
        y.retain_grad()
        maps.append(y)
    (y * torch.randn_like(y)).mean().backward()
    plt.semilogy(range(1, 21), [float(each.grad.norm()) for each in maps], label=type(norm).__name__)
plt.xlabel("layer")
plt.ylabel("gradient")
plt.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## 折叠掉
#
# 推理时批归一化只是固定的缩放和平移，可以并入它前面卷积的权重。能省时间吗？

# %%
pair = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), batch_norm(32)).eval()
folded = fuse_conv_bn_eval(*pair)
x = torch.randn(1, 32, 128, 128)
with torch.no_grad():
    print("最大差异", float((pair(x) - folded(x)).abs().max()))
    times = interleave({"pair": lambda: pair(x), "folded": lambda: folded(x)}, cpu, rounds=15)
print("pair / folded:", f"{ratio(times['pair'], times['folded'])}")

# %% [markdown]
# ## 实验室怎么说

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in (
    "normalisation.frozen",
    "normalisation_mapping.map",
    "normalisation_mapping.fold",
    "normalisation_trained.steps",
):
    display(Markdown(as_markdown(results, name, "zh")))

# %% [markdown]
# ## 练习
#
# 练习 1：网络处于 `eval()`，优化器走一步。权重会动吗？滑动统计量呢？先猜再运行。
#
# 练习 2：把影像的一半单独归一化，与整幅影像归一化后的同一半比较。批归一化（`eval()`）、通道归一化、组归一化，哪些两者相等？先猜再运行。
#
# 答案：

# %%
network = nn.Sequential(nn.Conv2d(3, 8, 3), batch_norm(8), nn.ReLU(), nn.Conv2d(8, 1, 1)).eval()
before = {name: value.clone() for name, value in network.state_dict().items()}
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
network(torch.randn(4, 3, 16, 16)).square().mean().backward()
optimizer.step()
moved = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
print(moved)
assert "0.weight" in moved and "1.running_mean" not in moved  # eval() 并不冻结

# %%
x = torch.randn(1, 16, 64, 64)
x[..., 32:] *= 3  # 右半边是另一种土地
equal = {}
for name, norm in (("batch", batch_norm(16)), ("channel", ChannelNorm(16)), ("group", group_norm(16))):
    norm.eval()
    equal[name] = torch.allclose(norm(x)[..., :32], norm(x[..., :32]), atol=1e-5)
print(equal)
assert equal == {"batch": True, "channel": True, "group": False}  # 组归一化看整幅影像：分块结果会不同
