# %% [markdown]
# # 1. A field goes through the network
#
# A network that finds cropland is a row of simple steps. Each step turns one stack of pictures, a *feature map*, into
# another one. On the way down the pictures get smaller and more numerous; on the way up they get large again, until
# each pixel of the image has one number. In this chapter you watch a real image on its way.

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
# ## The image
#
# The sample tile is an aerial image; the model that ships looks at it in pixels of 2 m. We cut a chip of it, and load
# the network.

# %%
cpu = torch.device("cpu")
chip = chip_of(ground_of(cpu))
network, image = chip.network, chip.image
print("image: batch, bands, rows, columns =", tuple(image.shape))

# %% [markdown]
# ## Down
#
# The first half of the network is called the encoder. Read the table from top to bottom: what is halved, what grows?

# %%
maps = network.encoder(image)
for y in maps:
    stride = image.shape[-1] // y.shape[-1]
    print(f"stride {stride:2d}: {tuple(y.shape[1:])} = {y.numel() / image.numel():.2f} of the image's numbers")

# %% [markdown]
# Here are the chip and, of each map, the channel that varies most. Edges come first, then textures, then whole
# places.

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
# ## Up
#
# The second half, the decoder, doubles the map again and again and joins the finer maps of the way down (*skips*).
# The last number of each pixel becomes a probability.

# %%
probability = network(image).sigmoid()[0, 0]
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
for axis, picture in zip(axes, (chip.picture, probability, chip.label == 1), strict=True):
    axis.imshow(picture, cmap="gray")
    axis.axis("off")
plt.show()

# %% [markdown]
# From left to right: the image, the probability, and the fields that people drew. Which half takes the time? Two
# contenders are timed in turn, so that what disturbs the machine disturbs both.

# %%
runs = {"encoder": lambda: network.encoder(image), "network": lambda: network(image)}
times = interleave(runs, cpu, rounds=5)
for name, its in times.items():
    print(f"{name:8} {its.ms} ms")
print("the network takes", f"{ratio(times['network'], times['encoder'])}", "times the encoder's time")

# %% [markdown]
# ## What the lab says
#
# The lab of cropland states what people believe of networks, measures it, and gives a verdict by limits that were
# fixed before. This cell reads its results; behind a figure stands its interval in brackets.

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
print(results.name, results.machine["threads"], "threads\n")
for name in ("walk.stages", "walk_detail.ways", "walk_extent.field"):
    display(Markdown(as_markdown(results, name, "en")))

# %% [markdown]
# ## Exercises
#
# Exercise 1: an image has 300 rows and 500 columns. How large is the coarsest map? Guess before you run.
#
# Exercise 2: set the coarsest map to zero, then the finest one instead. Which changes the mask more? Guess before you
# run.
#
# Answers:

# %%
coarsest = network.encoder(torch.zeros(1, 3, 300, 500))[-1]
print(tuple(coarsest.shape[2:]))
assert tuple(coarsest.shape[2:]) == (-(-300 // 32), -(-500 // 32))  # every halving rounds up

# %%
mask = probability >= chip.threshold
for name, index in (("coarsest", -1), ("finest", 0)):
    changed = [y * (i != index % len(maps)) for i, y in enumerate(maps)]
    hook = network.encoder.register_forward_hook(lambda module, inputs, found, changed=changed: changed)
    other = network(image).sigmoid()[0, 0] >= chip.threshold
    hook.remove()
    print(name, f"{(other != mask).float().mean():.1%}", "of the mask changes")
