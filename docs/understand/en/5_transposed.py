# %% [markdown]
# # 5. Transposed convolution
#
# On the way up a network must double its maps. One way is the *transposed convolution*: every pixel puts a small
# patch of weights onto a larger map, and where patches overlap they add up. It restores a shape. It does not bring
# back what was lost.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from torch import nn
from torch.nn import functional as F

import cropland
from cropland.blocks.bilinear import bilinear
from cropland.blocks.transposed import transposed
from cropland.lab.measure import interleave, ratio
from cropland.lab.report import as_markdown
from cropland.lab.results import Results

_ = torch.manual_seed(0), torch.set_grad_enabled(False)
cpu = torch.device("cpu")

# %% [markdown]
# ## Why "transposed"
#
# A convolution is a matrix C: a row for each output pixel, a column for each input pixel. Here it is written out for
# an image of 8 x 8 pixels and stride 2. The transposed convolution multiplies by the same matrix, transposed.

# %%
kernel = torch.rand(1, 1, 3, 3)
units = torch.eye(64).reshape(64, 1, 8, 8)
C = F.conv2d(units, kernel, stride=2, padding=1).flatten(1).T
y = torch.rand(1, 1, 4, 4)
up = F.conv_transpose2d(y, kernel, stride=2, padding=1, output_padding=1)
print("C:", tuple(C.shape), " y:", tuple(y.shape), " up:", tuple(up.shape))
assert torch.allclose(C.T @ y.flatten(), up.flatten(), atol=1e-6)

# %%
figure, axes = plt.subplots(1, 2, figsize=(7, 3.4))
for axis, matrix, name in zip(axes, (C, C.T), ("C", "C'"), strict=True):
    axis.imshow(matrix, cmap="Greens")
    axis.set_title(name, fontsize=9)
plt.show()

# %% [markdown]
# ## Where checkerboards come from
#
# Double a flat image with equal weights. How often is each pixel covered? Where the stride does not divide the
# kernel, neighbours differ before anything is learnt.


# %%
def coverage(k):
    return F.conv_transpose2d(torch.ones(1, 1, 6, 6), torch.ones(1, 1, k, k), stride=2)[0, 0]


figure, axes = plt.subplots(1, 4, figsize=(10, 2.7))
for axis, k in zip(axes, (2, 3, 4, 5), strict=True):
    print("kernel", k, coverage(k)[5, 5:9].int().tolist())
    axis.imshow(coverage(k), cmap="Greens", vmin=0)
    axis.set_title(str(k), fontsize=9)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Shapes
#
# Sizes 63 and 64 both shrink to 32, so the way back cannot know which it was, unless it is told.

# %%
down, back = nn.Conv2d(1, 1, 3, 2, 1), nn.ConvTranspose2d(1, 1, 3, 2, 1)
for size in (63, 64):
    y = down(torch.zeros(1, 1, size, size))
    print(size, "->", y.shape[-1], "->", back(y).shape[-1], ", told:", back(y, output_size=(size, size)).shape[-1])

# %% [markdown]
# ## The other way to double
#
# `bilinear` narrows the channels and then interpolates. Timed in turn:

# %%
x = torch.rand(1, 64, 64, 64).contiguous(memory_format=torch.channels_last)
ways = {"transposed": transposed(64, 32), "bilinear": bilinear(64, 32)}
for name, way in ways.items():
    way.to(memory_format=torch.channels_last)
    print(f"{name:10}", tuple(way(x).shape), sum(p.numel() for p in way.parameters()), "parameters")
times = interleave({name: lambda w=way: w(x) for name, way in ways.items()}, cpu, rounds=15)
print("transposed / bilinear:", f"{ratio(times['transposed'], times['bilinear'])}")

# %% [markdown]
# ## What the lab says

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in ("transposed.values", "transposed.checkerboard", "transposed.cost", "transposed_trained.better"):
    display(Markdown(as_markdown(results, name, "en")))

# %% [markdown]
# ## Exercises
#
# Exercise 1: a transposed convolution with kernel 3, stride 2 and padding 1 gets 10 x 10 pixels. How large is its
# output? Guess before you run.
#
# Exercise 2: an image goes down by C and up by the transpose. Does a flat image of ones come back as ones? Guess
# before you run.
#
# Answers:

# %%
size = nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1)(torch.zeros(1, 1, 10, 10)).shape[-1]
print(size)
assert size == (10 - 1) * 2 + 3 - 2 * 1 == 19

# %%
returned = (C.T @ (C @ torch.ones(64))).reshape(8, 8)
print(f"{returned.min():.2f} – {returned.max():.2f}")
assert not torch.allclose(returned, torch.ones(8, 8))  # the transpose is not the inverse
assert torch.linalg.matrix_rank(C) <= 16  # of 64 numbers 16 are left
