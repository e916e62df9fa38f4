# %% [markdown]
# # 9. A whole network
#
# All parts are known now. A whole network is judged by four sums that do not go together: parameters (the file),
# multiply-adds (the work), maps kept (the memory of training) and the receptive field (what it can know). Here you
# take the network that ships apart, and build another.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

import cropland
from cropland.lab.measure import interleave, ratio
from cropland.lab.report import as_markdown
from cropland.lab.results import Results
from cropland.model import ModelFile, default_model
from cropland.networks.unet import UNet
from cropland.show import anatomy
from cropland.streaming.receptive_field import Field

_ = torch.manual_seed(0), torch.set_grad_enabled(False)
cpu = torch.device("cpu")

# %% [markdown]
# ## Taken apart
#
# `anatomy` is what `cropland show` prints: every part with its stride, its parameters and its multiply-adds per pixel
# of the image.

# %%
model = ModelFile.load(default_model())
whole = anatomy(model.network(), 3, known=Field(model.radius, model.stride))
for layer in whole.layers:
    print(f"{layer.name:18} stride {layer.stride:4g} {layer.parameters:10,} {layer.multiply_adds:10,.0f}")

# %% [markdown]
# Add up by stride. Parameters lie at the coarse end, work does not:

# %%
strides = sorted({layer.stride for layer in whole.layers})
shares = {}
for name in ("parameters", "multiply_adds"):
    sums = [sum(getattr(layer, name) for layer in whole.layers if layer.stride == stride) for stride in strides]
    shares[name] = [each / sum(sums) for each in sums]
figure, axis = plt.subplots(figsize=(6, 2.6))
for shift, (name, its) in zip((-0.2, 0.2), shares.items(), strict=True):
    axis.bar([i + shift for i in range(len(strides))], its, 0.4, label=name.replace("_", "-"))
axis.set_xticks(range(len(strides)), [f"{stride:g}" for stride in strides])
axis.set_xlabel("stride")
axis.set_ylabel("share")
axis.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## Four sums

# %%
network, held = model.network(), {}
weights = {p.data_ptr(): p.nbytes for p in network.parameters()}
hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: held.update({t.data_ptr(): t.nbytes}) or t, lambda t: t)
with torch.enable_grad(), hooks:
    y = network.train()(torch.rand(1, 3, 256, 256))
kept = sum(size for at, size in held.items() if at not in weights)
print(f"parameters    {whole.parameters:,} = {sum(weights.values()) / 1e6:.1f} MB")
print(f"multiply-adds {whole.multiply_adds:,.0f} per pixel")
print(f"maps kept {kept / 1e6:.0f} MB")
print(f"field {2 * whole.radius + 1} pixels at most")

# %% [markdown]
# ## Build another
#
# Change one option at a time. The table and the clock tell what it does.

# %%
options = {"plain": (4, "convolution"), "separable": (4, "separable"), "shallow": (2, "convolution")}


def build(name):
    depth, convolution = options[name]
    down = {"width": 8, "depth": depth, "convolution": convolution}
    return UNet(3, width=8, encoder_options=down, convolution=convolution).eval()


networks = {name: build(name) for name in options}
seen = {name: anatomy(its, 3) for name, its in networks.items()}
for name, its in seen.items():
    print(f"{name:10} {its.parameters:8,} {its.multiply_adds:8,.0f} field radius {its.radius}")
x = torch.rand(1, 3, 256, 256)
times = interleave({name: lambda n=its: n(x) for name, its in networks.items()}, cpu, rounds=5)
for name in networks:
    print(f"{name:10} {times[name].ms} ms; plain / {name} {ratio(times['plain'], times[name])}")

# %% [markdown]
# ## What the lab says

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in ("network.arithmetic", "network.parameters", "network.memory", "network.field"):
    display(Markdown(as_markdown(results, name, "en")))

# %% [markdown]
# Each of ten well-known tricks of training was tried too, in equal time. This is all of them together:

# %%
tricks = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "tricks" / "results.json")
display(Markdown(as_markdown(tricks, "tricks.all_ten", "en")))

# %% [markdown]
# ## Exercises
#
# Exercise 1: a U-Net is made twice as wide. By what factor do the parameters grow? Guess before you run.
#
# Exercise 2: the shallow network, with two halvings, gets a third. Does its receptive field grow by a little, or does
# it about double? Guess before you run.
#
# Answers:

# %%
counts = []
for width in (8, 16):
    wide = UNet(3, width=width, encoder_options={"width": width})
    counts.append(sum(p.numel() for p in wide.parameters()))
print(counts, f"{counts[1] / counts[0]:.2f}")
assert (
    3.9 < counts[1] / counts[0] < 4
)  # both channels in and channels out double; the first layer has three bands still

# %%
deeper = anatomy(UNet(3, width=8, encoder_options={"width": 8, "depth": 3}), 3).radius
print(seen["shallow"].radius, "->", deeper)
assert 1.8 < deeper / seen["shallow"].radius < 2.5  # every step of the coarsest map is twice as wide
