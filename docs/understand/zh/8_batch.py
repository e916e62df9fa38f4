# %% [markdown]
# # 8. 批次与轮
#
# 训练反复做一件事：取一些样本（一个批次），求损失随权重怎样变化（梯度），再让权重走一步。轮只是计数：看过多少样本。批次应该多大，内存不够时又怎么办？

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from torch import nn
from torch.nn import functional as F

import cropland
from cropland.blocks.convolution import Convolution
from cropland.lab.chapters.walk.through import ground_of
from cropland.lab.measure import interleave
from cropland.lab.report import as_markdown
from cropland.lab.results import Results

_ = torch.manual_seed(0)
cpu = torch.device("cpu")

# %% [markdown]
# ## 样本
#
# 示例影像和人工勾绘的田块，裁成 32 × 32 像元的样本。未知之处（255）不计入。


# %%
def cut(values):
    tiles = values[..., :480, :480].unfold(-2, 32, 32).unfold(-2, 32, 32)
    return tiles.flatten(-4, -3).movedim(-3, 0)


ground = ground_of(cpu)
chips, labels = cut(ground.image[0]), cut(torch.from_numpy(ground.label.copy()))
order = torch.randperm(len(chips))
chips, labels = chips[order], labels[order]
print(tuple(chips.shape), tuple(labels.shape), f"{float((labels == 1).float().mean()):.0%} 耕地")


def loss_of(network, image, truth):
    each = F.binary_cross_entropy_with_logits(network(image)[:, 0], (truth == 1).float(), reduction="none")
    return (each * (truth != 255)).mean()


def make(norm="channel_norm"):
    torch.manual_seed(0)
    return nn.Sequential(Convolution(3, 8, norm=norm), Convolution(8, 8, norm=norm), nn.Conv2d(8, 1, 1))


# %% [markdown]
# ## 看步数，不看轮数
#
# 对同样的样本训练一轮，批次为 4、16、64：批次越小，步数越多。改改学习率再看。

# %%
LEARNING_RATE = 0.01
plt.figure(figsize=(6, 2.6))
for size in (4, 16, 64):
    network, losses = make(), []
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    for image, truth in zip(chips.split(size), labels.split(size), strict=True):
        loss = loss_of(network, image, truth)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    seen = [size * (step + 1) for step in range(len(losses))]
    plt.plot(seen, losses, label=str(size))
    latest = sum(losses[-3:]) / 3
    print("批次", f"{size:2}: {len(losses):2}", "步，最后三步的损失", f"{latest:.3f}")
plt.xlabel("chips")
plt.ylabel("loss")
plt.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## 批次的噪声
#
# 一个批次的梯度是对全部样本梯度的猜测。差多远？批次变为四倍，噪声约减半。


# %%
def gradient(network, image, truth):
    grads = torch.autograd.grad(loss_of(network, image, truth), list(network.parameters()))
    return torch.cat([each.flatten() for each in grads])


network = make()
each = torch.stack([gradient(network, chips[i : i + 1], labels[i : i + 1]) for i in range(128)])
for size in (1, 4, 16, 64):
    drawn = torch.stack([each[torch.randint(128, (size,))].mean(0) - each.mean(0) for _ in range(200)])
    print("批次", f"{size:2}", f"{float(drawn.norm(dim=1).mean() / each.mean(0).norm()):.2f}")

# %% [markdown]
# ## 每个样本的时间
#
# 批次越大，机器用得越充分吗？前向加反向，轮流计时。

# %%
runs = {str(n): lambda n=n: loss_of(network, chips[:n], labels[:n]).backward() for n in (1, 8, 64)}
times = interleave(runs, cpu, rounds=9)
for n, its in times.items():
    print("批次", f"{n:>2}:", f"{its.ms.times(1 / int(n))}", "毫秒/样本")

# %% [markdown]
# 这个网络很小：只有一个样本时，调用开销比运算还大。实验室里的网络运算更多，那里批次再大也未必更快，见下面第二条。
#
# ## 实验室怎么说

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in ("batch.accumulation", "batch.throughput", "batch_gradient.noise", "batch_trained.speed"):
    display(Markdown(as_markdown(results, name, "zh")))

# %% [markdown]
# ## 练习
#
# 练习 1：内存只够两个样本，批次是八个，于是把四份的梯度加起来。通道归一化和批归一化，哪一种的和等于整个批次的梯度？先猜再运行。
#
# 练习 2：450 个样本，批次为 8，最后一个批次较小，训练 10 轮。权重改变多少次？先猜再运行。
#
# 答案：

# %%
for norm in ("channel_norm", "batch_norm"):
    network = make(norm)
    whole = gradient(network, chips[:8], labels[:8])
    parts = sum(gradient(network, chips[i : i + 2], labels[i : i + 2]) / 4 for i in range(0, 8, 2))
    off = float((whole - parts).norm() / whole.norm())
    print(norm, f"{off:.1e}")
    assert (off < 1e-4) == (norm == "channel_norm")  # 批归一化的统计量来自每一份

# %%
steps = 10 * len(torch.arange(450).split(8))
print(steps)
assert steps == 10 * 57  # 每轮 450 / 8，向上取整
