# %% [markdown]
# # Choose a block
#
# A recipe names the blocks that its network is made of. Which one should you take? Count first, then use the clock, and only then train: each
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
# ## What there is
#
# One file, one block; its name is the name in the recipe.

# %%
print(*names("blocks"), sep=", ")

# %% [markdown]
# They have roles, and within a role one can stand for another: `convolution` (what mixes neighbours and channels), `unit` (what is built of it at each
# size), `down`, `up` and `norm`. Four candidates, each one change away from the first:

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
# Parameters are the size of the file. Multiply-adds are the work. The radius is how far a pixel can look. None of these needs training, or even an image.

# %%
counted = {name: anatomy(build(name), 3) for name in candidates}
print("            parameters   multiply-adds per pixel   radius in pixels")
for name, its in counted.items():
    print(f"{name:10} {its.parameters:11,} {its.multiply_adds:25,.0f} {its.radius:18}")

# %% [markdown]
# ## Use the clock
#
# Work is not time. Before you read on: by what factor will the separable network be faster?

# %%
image = torch.rand(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
networks = {name: build(name).to(memory_format=torch.channels_last) for name in candidates}
with torch.inference_mode():
    times = interleave({name: lambda n=n: n(image) for name, n in networks.items()}, image.device, rounds=5)
for name, its in times.items():
    promised = counted["plain"].multiply_adds / counted[name].multiply_adds
    print(f"{name:10} {its.ms} ms; work / {promised:.2f}, time / {ratio(times['plain'], its)}")

# %% [markdown]
# Behind a median stands its interval. Where it reaches across 1, you have not seen a difference. Why the separable one keeps so little of what it promises is
# told in [its chapter](../understand/en/4_separable.py).
#
# ## Train
#
# The same chips of the sample in the same order, the same number of steps; only the blocks differ. One training is an anecdote, since the first weights
# and the order of the chips move the IoU too. So there are several seeds, and the difference is taken seed by seed.

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
# will use: such a trial tells what is hopeless, not what is best. For the rest train your own recipe on your own chips, twice, and compare the validation figures:
#
# ```
# cropland train my.toml --chips my_chips --out plain
# cropland train my.toml --chips my_chips --out strided --set network.options.encoder_options.down=strided
# ```
#
# ## A block of your own
#
# A block is a function or a class. In the place of a name a recipe takes `file.py:Name`, so a block needs no change in the program. This one sees twice as
# far at each step, with the same parameters:

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
# 1. Which has more parameters, one step of `up = "transposed"` or of `up = "bilinear"`? Why does the clock not follow?
# 2. Which `norm` takes the bound from the receptive field, so that a large scene can no longer be mapped in parts?
#
# Answers:

# %%
for name in ("transposed", "bilinear"):
    print(name, sum(weight.numel() for weight in find("blocks", name)(24, 12).parameters()))

# %% [markdown]
# The transposed convolution has 2 x 2 weights for each pair of channels where `bilinear` has one. But each of its output pixels uses one of the four, and interpolation must
# be computed as well.

# %%
for norm in ("batch_norm", "channel_norm", "group_norm"):
    network = find("networks", "unet")(3, width=8, norm=norm, encoder_options={"width": 8, "depth": 2})
    its = anatomy(network, 3)
    print(norm, its.radius, its.reason or "")
    assert (its.radius is None) == (norm == "group_norm")

# %% [markdown]
# ## What to do next
#
# - [Understand the network](../understand/en/1_walk.py): what each of these blocks does, measured.
# - [Map a large scene](map_a_large_scene.py): what the radius is needed for.
# - [The shelves](../reference/shelves.md): every block with its options.
