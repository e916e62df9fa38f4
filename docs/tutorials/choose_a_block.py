# %% [markdown]
# # Choose a block
#
# A recipe names the blocks that its network is made of. Which block should you choose? Count first, then measure the time, and only then train. Each
# step costs more than the one before, and rules out less.

# %%
import os
import tempfile
from pathlib import Path

import torch

from cropland.catalog import find, names
from cropland.lab.measure import interleave, ratio
from cropland.lab.trials import chip_folder, compare, gain, small_recipe
from cropland.show import anatomy

os.chdir(tempfile.mkdtemp())
SHORT = bool(os.environ.get("CROPLAND_SHORT"))  # the tests run this page in its short form
_ = torch.manual_seed(0)

# %% [markdown]
# ## The blocks
#
# Each file holds one block, and the name of the file is the name in the recipe.

# %%
print(*names("blocks"), sep=", ")

# %% [markdown]
# Blocks have roles, and blocks of the same role can replace each other. The roles are `convolution` (mixes neighbours and channels), `unit` (is built of
# convolutions at each size), `down`, `up` and `norm`. We compare four candidates. Each differs from the first by one change:

# %%
candidates = {
    "plain": {},
    "separable": {"convolution": "separable", "encoder_options": {"convolution": "separable"}},
    "transposed": {"up": "transposed"},
    "strided": {"encoder_options": {"down": "strided"}},
}


def options(name, width=12):
    mine = candidates[name]
    return {"width": width, **mine, "encoder_options": {"width": width, "depth": 3, **mine.get("encoder_options", {})}}


def build(name):
    return find("networks", "unet")(3, **options(name)).eval()


# %% [markdown]
# ## Count
#
# Parameters are the size of the file. Multiply-adds are the amount of computation. The radius is the distance that an output pixel can see. To count them, you need neither
# training nor an image.

# %%
counted = {name: anatomy(build(name), 3) for name in candidates}
print("            parameters   multiply-adds per pixel   radius in pixels")
for name, its in counted.items():
    print(f"{name:10} {its.parameters:11,} {its.multiply_adds:25,.0f} {its.radius:18}")

# %% [markdown]
# ## Measure the time
#
# The amount of computation does not determine the time. Before you read on: by what factor will the separable network be faster?

# %%
image = torch.rand(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
networks = {name: build(name).to(memory_format=torch.channels_last) for name in candidates}
with torch.inference_mode():
    times = interleave({name: lambda n=n: n(image) for name, n in networks.items()}, image.device, rounds=5)
for name, its in times.items():
    promised = counted["plain"].multiply_adds / counted[name].multiply_adds
    print(f"{name:10} {its.ms} ms; work / {promised:.2f}, time / {ratio(times['plain'], its)}")

# %% [markdown]
# Each median is followed by its interval. If the interval of a ratio contains 1, no difference was seen. [The chapter on separable convolution](../understand/en/4_separable.py) explains why the
# separable network is so much slower than its multiply-adds promise.
#
# ## Train
#
# All candidates see the same chips of the sample in the same order for the same number of steps. Only the blocks differ. A single training proves little, because the first weights
# and the order of the chips change the IoU too. So we train with several seeds and take the difference for each seed.

# %%
SEEDS, STEPS = (2, 4) if SHORT else (3, 160)
down = "network.options.encoder_options"
settings = {
    "plain": (),
    "separable": ("network.options.convolution=separable", f"{down}.convolution=separable"),
    "strided": (f"{down}.down=strided",),
}
recipes = {name: small_recipe("network.options.width=8", f"{down}.width=8", *its) for name, its in settings.items()}
trials = compare(recipes, chip_folder(None), image.device, seeds=SEEDS, steps=STEPS)
for name, its in trials.items():
    found = ", ".join(f"{trial.iou:.3f}" for trial in its)
    print(f"{name:10} IoU {found}; gain {gain(its, trials['plain'])}")

# %% [markdown]
# The interval of a gain is that of its mean over the seeds. A network of 8 channels that saw a few chips for a quarter of a minute is not the network that you
# will use. Such a trial shows what is hopeless, not what is best. To decide between good candidates, train your own recipe on your own chips, once with each block, and compare the validation figures:
#
# ```
# cropland train my.toml --chips my_chips --out plain
# cropland train my.toml --chips my_chips --out strided --set network.options.encoder_options.down=strided
# ```
#
# ## A block of your own
#
# A block is a function or a class. A recipe accepts `file.py:Name` instead of a name, so your block needs no change in the program. This block sees twice as
# far in each convolution, with the same number of parameters:

# %%
_ = Path("far.py").write_text(
    """
from cropland.blocks.atrous import Atrous

def far(channels_in, channels_out, *, norm="batch_norm"):
    return Atrous(channels_in, channels_out, rate=2, norm=norm)
""",
    encoding="utf-8",
)
candidates["far"] = {"convolution": "far.py:far"}
seen = anatomy(build("far"), 3)
print("parameters", seen.parameters, "radius", counted["plain"].radius, "->", seen.radius)
assert seen.parameters == counted["plain"].parameters and seen.radius > counted["plain"].radius

# %% [markdown]
# ## Exercises
#
# 1. Which has more parameters, one step of `up = "transposed"` or of `up = "bilinear"`? Why does the time not grow in the same way?
# 2. Which `norm` makes the receptive field unbounded, so that a large scene can no longer be mapped in parts?
#
# Answers:

# %%
for name in ("transposed", "bilinear"):
    print(name, sum(weight.numel() for weight in find("blocks", name)(24, 12).parameters()))

# %% [markdown]
# The transposed convolution has 2 x 2 weights for each pair of channels, and `bilinear` has one. But each output pixel of the transposed convolution uses only one of the four, and `bilinear` must
# also compute the interpolation.

# %%
for norm in ("batch_norm", "channel_norm", "group_norm"):
    network = find("networks", "unet")(3, width=8, norm=norm, encoder_options={"width": 8, "depth": 2})
    its = anatomy(network, 3)
    print(norm, its.radius, its.reason or "")
    assert (its.radius is None) == (norm == "group_norm")

# %% [markdown]
# ## What to do next
#
# - [Understand the network](../understand/en/1_walk.py): what each of these blocks does, with measurements.
# - [Map a large scene](map_a_large_scene.py): why the radius matters.
# - [The shelves](../reference/shelves.md): every block with its options.
