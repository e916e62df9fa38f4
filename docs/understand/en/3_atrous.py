# %% [markdown]
# # 3. Atrous convolution
#
# To know whether a pixel is cropland one must look far around it. An *atrous* convolution moves its nine taps apart
# by a *rate*. It sees further with the same parameters, and the map keeps its size. The price: where rates repeat,
# gaps.

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
# ## Same size, same parameters
#
# Only the rate changes here. Compare the shapes with those of a convolution of stride 2.

# %%
x = torch.rand(1, 8, 64, 64)
for rate in (1, 2, 5):
    block = Atrous(8, 8, rate=rate)
    print(f"rate {rate}:", tuple(block(x).shape), block.convolution.weight.numel(), "parameters")
print("stride 2:", tuple(nn.Conv2d(8, 8, 3, stride=2, padding=1)(x).shape))

# %% [markdown]
# ## The receptive field
#
# Count for each pixel by how many paths it reaches the one output pixel in the middle. What has a path lies in the
# *receptive field*. Change the rates.


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
    print(rates, f"{len(found)} x {len(found)},", f"{(found > 0).float().mean():.0%} reached")

# %% [markdown]
# A picture says it faster. White pixels count for nothing: the image falls into lattices that never meet.

# %%
figure, axes = plt.subplots(1, 4, figsize=(11, 2.9))
for axis, rates in zip(axes, ((1, 1, 1), (2, 2, 2), (1, 2, 3), (4, 4, 4)), strict=True):
    axis.imshow(paths(rates).sqrt(), cmap="Greens")
    axis.set_title("-".join(map(str, rates)), fontsize=9)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## What it costs
#
# The arithmetic is the same at every rate. Is the time?

# %%
x = torch.rand(1, 64, 96, 96).contiguous(memory_format=torch.channels_last)
blocks = {rate: Atrous(64, 64, rate=rate).eval().to(memory_format=torch.channels_last) for rate in (1, 4, 12)}
times = interleave({str(rate): lambda b=block: b(x) for rate, block in blocks.items()}, cpu, rounds=15)
for rate, its in times.items():
    print(f"rate {rate:>2}: {its.ms} ms")
print(f"12 / 1: {ratio(times['12'], times['1'])}")

# %% [markdown]
# ## What the lab says

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in ("atrous.field", "atrous_cost.shape", "atrous_cost.time", "atrous_gridding.gaps"):
    display(Markdown(as_markdown(results, name, "en")))

# %% [markdown]
# ## Exercises
#
# Exercise 1: how wide is the field of rates 1, 2 and 5 on each other, and are there gaps in it? Guess before you run.
#
# Exercise 2: what share of its field do rates 3-3-3 reach? Guess before you run.
#
# Answers:

# %%
found = paths((1, 2, 5))
print(len(found), bool((found > 0).all()))
assert len(found) == 1 + 2 * (1 + 2 + 5)  # each layer adds its rate at both sides
assert (found > 0).all()

# %%
found = paths((3, 3, 3))
print(f"{int((found > 0).sum())} / {found.numel()}")
assert int((found > 0).sum()) == 7 * 7 and found.numel() == 19 * 19  # every third row and column
