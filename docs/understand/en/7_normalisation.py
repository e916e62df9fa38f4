# %% [markdown]
# # 7. Normalisation
#
# After a convolution the numbers of a channel may be huge or tiny. *Batch normalisation* takes off their mean,
# divides by their deviation, and then scales and shifts by two learnt numbers. Three things are easily confused: what
# is learnt, what is tracked, and what is frozen.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import cropland
from cropland.blocks.batch_norm import batch_norm
from cropland.blocks.channel_norm import ChannelNorm
from cropland.blocks.group_norm import group_norm
from cropland.lab.measure import interleave, ratio
from cropland.lab.report import as_markdown
from cropland.lab.results import Results

_ = torch.manual_seed(0)
cpu = torch.device("cpu")

# %% [markdown]
# ## Learnt and tracked
#
# Gamma and beta are parameters: gradients move them. The running mean and variance are buffers: the forward pass in
# `train()` writes them, and no gradient ever does.

# %%
norm = batch_norm(8)
print("learnt: ", [name for name, _ in norm.named_parameters()])
print("tracked:", [name for name, _ in norm.named_buffers()])
x = torch.randn(4, 8, 32, 32) * 5 + 3
y = norm(x).detach()
print(f"in {x.mean():.2f} ± {x.std():.2f}, out {y.mean():.2f} ± {y.std():.2f}")
print("running_mean", [round(value, 2) for value in norm.running_mean[:4].tolist()])

# %% [markdown]
# ## train() and eval()
#
# In `train()` a chip is normalised with the others of its batch; in `eval()` with the running statistics. So the same
# image gives two answers.

# %%
one = x[:1]
with torch.no_grad():
    for _ in range(200):
        norm(x)
    alone, fixed = batch_norm(8).train()(one), norm.eval()(one)
    beside = norm.train()(torch.cat([one, one * 0]))[:1]
for name, y in (("train(), alone", alone), ("train(), beside zeros", beside), ("eval()", fixed)):
    print(f"{name:22} {y.mean():6.2f} ± {y.std():.2f}")

# %% [markdown]
# ## The gradient at every depth
#
# Twenty layers with and without normalisation. Each point is the size of the gradient that arrives at that layer.

# %%
plt.figure(figsize=(6, 2.6))
for make in (nn.Identity, batch_norm, ChannelNorm):
    torch.manual_seed(0)
    y, maps = torch.rand(4, 16, 32, 32), []
    for _ in range(20):
        norm = make(16)
        y = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), norm, nn.ReLU())(y)
        y.retain_grad()
        maps.append(y)
    (y * torch.randn_like(y)).mean().backward()
    plt.semilogy(range(1, 21), [float(each.grad.norm()) for each in maps], label=type(norm).__name__)
plt.xlabel("layer")
plt.ylabel("gradient")
plt.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## Folded away
#
# At inference batch normalisation is a fixed scale and shift, so it can be put into the weights of the convolution
# before it. Does it save time?

# %%
pair = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), batch_norm(32)).eval()
folded = fuse_conv_bn_eval(*pair)
x = torch.randn(1, 32, 128, 128)
with torch.no_grad():
    print("largest difference", float((pair(x) - folded(x)).abs().max()))
    times = interleave({"pair": lambda: pair(x), "folded": lambda: folded(x)}, cpu, rounds=15)
print("pair / folded:", f"{ratio(times['pair'], times['folded'])}")

# %% [markdown]
# ## What the lab says

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in (
    "normalisation.frozen",
    "normalisation_mapping.map",
    "normalisation_mapping.fold",
    "normalisation_trained.steps",
):
    display(Markdown(as_markdown(results, name, "en")))

# %% [markdown]
# ## Exercises
#
# Exercise 1: a network is in `eval()`, and an optimizer takes one step. Do its weights move? Do its running
# statistics? Guess before you run.
#
# Exercise 2: half of an image is normalised by itself, and compared with the same half of the whole image. For which
# of batch norm (in `eval()`), channel norm and group norm are both equal? Guess before you run.
#
# Answers:

# %%
network = nn.Sequential(nn.Conv2d(3, 8, 3), batch_norm(8), nn.ReLU(), nn.Conv2d(8, 1, 1)).eval()
before = {name: value.clone() for name, value in network.state_dict().items()}
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
network(torch.randn(4, 3, 16, 16)).square().mean().backward()
optimizer.step()
moved = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
print(moved)
assert "0.weight" in moved and "1.running_mean" not in moved  # eval() does not freeze

# %%
x = torch.randn(1, 16, 64, 64)
x[..., 32:] *= 3  # the right half is another land
equal = {}
for name, norm in (("batch", batch_norm(16)), ("channel", ChannelNorm(16)), ("group", group_norm(16))):
    norm.eval()
    equal[name] = torch.allclose(norm(x)[..., :32], norm(x[..., :32]), atol=1e-5)
print(equal)
assert equal == {
    "batch": True,
    "channel": True,
    "group": False,
}  # group norm looks at the whole image: tiles would differ
