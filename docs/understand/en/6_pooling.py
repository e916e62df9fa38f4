# %% [markdown]
# # 6. Pooling
#
# *Pooling* makes one pixel of several, mostly of 2 x 2: their largest value, or their mean. Every halving leaves a
# quarter of the pixels. That saves time and memory and lets the network see further; it costs the exact place of
# things.

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
# ## Three ways to halve
#
# Two have no parameters; the third, a strided convolution, learns how to halve.

# %%
x = torch.rand(1, 16, 65, 64)
for name, make in (("max_pool", max_pool), ("average_pool", average_pool), ("strided", strided)):
    layer = make(16)
    print(f"{name:13}", tuple(layer(x).shape), sum(p.numel() for p in layer.parameters()), "parameters")

# %% [markdown]
# ## What it saves
#
# The same convolution after zero to three halvings. The pixels fall by the factor four each time; does the time?

# %%
layer = nn.Conv2d(32, 32, 3, padding=1)
images = {str(n): torch.rand(1, 32, 256 >> n, 256 >> n) for n in range(4)}
times = interleave({n: torch.no_grad()(lambda x=x: layer(x)) for n, x in images.items()}, cpu, rounds=11)
for n, its in times.items():
    print(n, tuple(images[n].shape[2:]), f"{its.ms} ms")

# %% [markdown]
# ## What it loses
#
# Two fields with a track of six pixels between them. Halve, come back, and cut at one half: how much of the track is
# left? The pictures show two halvings.

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
    print(f"{name:8}", "columns of the track left after 1, 2, 3 halvings:", left)
plt.show()

# %% [markdown]
# ## A shift of one pixel
#
# A convolution follows its image: move the image, and the map moves along. After halving that holds only for whole
# steps of the coarse map.

# %%
x = torch.rand(1, 1, 64, 64)
convolution = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
with torch.no_grad():
    for shift in (1, 2):
        moved = convolution(x.roll(shift, 3)), F.max_pool2d(x.roll(shift, 3), 2)
        expected = convolution(x).roll(shift, 3), F.max_pool2d(x, 2).roll(shift // 2, 3)
        print("shift", shift, [f"{float((a - b).abs().max()):.3f}" for a, b in zip(moved, expected, strict=True)])

# %% [markdown]
# In each list the first number is the convolution's difference, the second that of max pooling.
#
# ## What the lab says

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in ("pooling.work", "pooling_shift.equivariance", "pooling_boundary.fields", "pooling_trained.dispensable"):
    display(Markdown(as_markdown(results, name, "en")))

# %% [markdown]
# ## Exercises
#
# Exercise 1: three times in a row a 3 x 3 convolution is followed by a halving. How many pixels wide is the receptive
# field? Guess before you run.
#
# Exercise 2: how many halvings leave a track of 8 m less than one pixel wide, if the image has pixels of 2 m? Guess
# before you run.
#
# Answers:

# %%
layers = [layer for _ in range(3) for layer in (nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.AvgPool2d(2))]
for layer in layers[::2]:
    nn.init.ones_(layer.weight)
x = torch.zeros(1, 1, 128, 128, requires_grad=True)
y = nn.Sequential(*layers)(x)
y[0, 0, 8, 8].backward()
width = int((x.grad[0, 0] != 0).any(0).sum())
print(width)
assert width == 1 + (2 + 1) + (4 + 2) + (8 + 4)  # a convolution adds two steps of its map, a halving one

# %%
halvings = next(n for n in range(10) if 8 / (2 * 2**n) < 1)
print(halvings, "->", 2 * 2**halvings, "m")
assert halvings == 3
