# %% [markdown]
# # 4. Depthwise-separable convolution
#
# An ordinary convolution mixes neighbours and channels at once. A *depthwise-separable* one does it in two steps:
# first within each channel over the neighbours (*depthwise*), then across channels at each pixel (*pointwise*). The
# parameters fall almost by the factor nine. The time does not, and that is the lesson.

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
# ## Two steps
#
# Both layers take 64 channels to 64. Follow the shapes.

# %%
C, EDGE = 64, 128
ordinary = nn.Conv2d(C, C, 3, padding=1, bias=False)
depthwise = nn.Conv2d(C, C, 3, padding=1, groups=C, bias=False)
pointwise = nn.Conv2d(C, C, 1, bias=False)
x = torch.randn(1, C, EDGE, EDGE)
print(tuple(x.shape), "->", tuple(depthwise(x).shape), "->", tuple(pointwise(depthwise(x)).shape))

# %% [markdown]
# ## What is promised
#
# Each weight is used once per pixel, so parameters and multiply-adds fall by the same factor: 9 C / (9 + C) for C
# channels.

# %%
layers = {"ordinary": [ordinary], "separable": [depthwise, pointwise]}
weights = {name: sum(layer.weight.numel() for layer in its) for name, its in layers.items()}
print(weights, f"{weights['ordinary'] / weights['separable']:.2f} times fewer")
for channels in (8, 16, 64, 256):
    print(channels, f"{9 * channels / (9 + channels):.2f}")

# %% [markdown]
# ## What the clock says
#
# Now the time, in turn, on this machine.

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
    "promised",
    f"{weights['ordinary'] / weights['separable']:.2f},",
    "found",
    f"{ratio(times['ordinary'], times['separable'])}",
)

# %% [markdown]
# Arithmetic per second shows which step lags behind. Memory is often blamed for it; what the lab found stands below,
# in its second claim.

# %%
work = {"ordinary": 9 * C * C, "depthwise": 9 * C, "pointwise": C * C}
rates = {name: each * EDGE**2 / times[name].number.value / 1e9 for name, each in work.items()}
plt.figure(figsize=(6, 1.8))
plt.barh(list(rates), list(rates.values()), color="seagreen")
plt.xlabel("10^9 multiply-adds / s")
plt.gca().invert_yaxis()
plt.show()

# %% [markdown]
# ## What the lab says

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in (
    "separable_layer.waterfall",
    "separable_causes.memory",
    "separable_remedy.ratio",
    "separable_trained.whole",
):
    display(Markdown(as_markdown(results, name, "en")))

# %% [markdown]
# ## Exercises
#
# Exercise 1: with 16 channels, by what factor do the multiply-adds fall? Guess before you run.
#
# Exercise 2: can an ordinary convolution give the same result as a separable one? If so, what are its weights? Guess
# before you run.
#
# Answers:

# %%
factor = (9 * 16 * 16) / (9 * 16 + 16 * 16)
print(factor)
assert factor == 9 * 16 / (9 + 16) == 5.76

# %%
# the outer product: out, in, row, column
equal = pointwise.weight * depthwise.weight.transpose(0, 1)
print(tuple(equal.shape))
one, other = F.conv2d(x, equal, padding=1), pointwise(depthwise(x))
print("largest difference", float((one - other).abs().max()))
assert torch.allclose(
    one, other, atol=1e-4
)  # the other way round it does not go: few ordinary kernels are such products
