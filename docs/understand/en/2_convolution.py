# %% [markdown]
# # 2. Convolution
#
# Nearly all that the network does is one operation: look at a pixel and its neighbours, multiply each number by a
# weight, add up. The same weights serve every pixel. That is a *convolution*, and it is no more than a matrix
# product.

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
# ## One pixel by hand
#
# Take 3 x 3 weights and one pixel. Its new value is the sum of nine products.

# %%
x, w = torch.rand(1, 1, 6, 6), torch.rand(1, 1, 3, 3)
by_hand = (x[0, 0, 1:4, 2:5] * w[0, 0]).sum()
y = F.conv2d(x, w, padding=1)
print(float(by_hand), float(y[0, 0, 2, 3]))
assert torch.isclose(by_hand, y[0, 0, 2, 3])

# %% [markdown]
# ## Kernels that can be understood
#
# The weights decide what is seen. A mean blurs; right minus left finds edges. Change the numbers and look again.

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
# ## A matrix product
#
# Write what lies under the kernel as a column for each pixel (`unfold`); the weights are a row for each output
# channel. The product of both is the convolution.

# %%
x, w = torch.randn(1, 32, 96, 96), torch.randn(32, 32, 3, 3)
columns = F.unfold(x, 3, padding=1)[0]
product = (w.flatten(1) @ columns).reshape(1, 32, 96, 96)
y = F.conv2d(x, w, padding=1)
print(tuple(w.flatten(1).shape), "x", tuple(columns.shape), "=", tuple(product.shape))
print("largest difference, as a share of the largest value:", float((product - y).abs().max() / y.abs().max()))

# %% [markdown]
# The matrix holds each number of the image nine times. Does the library write it out? Time both ways in turn.

# %%
runs = {
    "unfold, multiply": lambda: w.flatten(1) @ F.unfold(x, 3, padding=1)[0],
    "conv2d": lambda: F.conv2d(x, w, padding=1),
}
times = interleave(runs, cpu, rounds=15)
for name, its in times.items():
    print(f"{name:17} {its.ms} ms")
print(f"{ratio(times['unfold, multiply'], times['conv2d'])}", "times as long")

# %% [markdown]
# ## Counting
#
# Two numbers describe a layer before it is built. *Parameters*: kernel x kernel x channels in x channels out.
# *Multiply-adds*: that, once for every output pixel.

# %%
for channels, edge in ((16, 128), (32, 64), (64, 32)):
    parameters = 3 * 3 * channels * channels
    print(f"{channels:3} channels, {edge:3} pixels: {parameters:6,} parameters, {parameters * edge**2:,} multiply-adds")

# %% [markdown]
# Twice the channels on half the edge: four times the parameters, the same work.

# %% [markdown]
# ## What the lab says

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in ("convolution.product", "convolution_arithmetic.parameters", "convolution_layers.equal"):
    display(Markdown(as_markdown(results, name, "en")))

# %% [markdown]
# ## Exercises
#
# Exercise 1: a 5 x 5 convolution takes 16 channels to 32, with stride 2, on 128 x 128 pixels. How many parameters has
# it (no bias), and how many multiply-adds does it do? Guess before you run.
#
# Exercise 2: three 3 x 3 convolutions without padding follow each other on 64 x 64 pixels. How large is the result?
# Guess before you run.
#
# Answers:

# %%
layer = nn.Conv2d(16, 32, 5, stride=2, padding=2, bias=False)
with FlopCounterMode(display=False) as counter:
    layer(torch.zeros(1, 16, 128, 128))
print(layer.weight.numel(), counter.get_total_flops() // 2)
assert layer.weight.numel() == 5 * 5 * 16 * 32
assert counter.get_total_flops() // 2 == 5 * 5 * 16 * 32 * 64 * 64  # half the edge: a quarter of the pixels

# %%
three = nn.Sequential(*(nn.Conv2d(1, 1, 3) for _ in range(3)))
size = tuple(three(torch.zeros(1, 1, 64, 64)).shape[2:])
print(size)
assert size == (58, 58)  # each loses one pixel at every side
