# %% [markdown]
# # 8. Batch and epoch
#
# Training repeats one thing: take some chips (a *batch*), ask how the loss changes with the weights (the *gradient*),
# and move the weights a step. An *epoch* is only a count of the chips seen. How large should a batch be, and what if
# memory is short?

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from torch import nn
from torch.nn import functional as F

import cropland
from cropland.blocks.convolution import Convolution
from cropland.lab.chapters.walk.through import ground_of
from cropland.lab.measure import interleave
from cropland.lab.report import as_markdown
from cropland.lab.results import Results

_ = torch.manual_seed(0)
cpu = torch.device("cpu")

# %% [markdown]
# ## Chips
#
# The sample tile with the fields that people drew, cut into chips of 32 x 32 pixels. Where nothing is known (255),
# nothing counts.


# %%
def cut(values):
    tiles = values[..., :480, :480].unfold(-2, 32, 32).unfold(-2, 32, 32)
    return tiles.flatten(-4, -3).movedim(-3, 0)


ground = ground_of(cpu)
chips, labels = cut(ground.image[0]), cut(torch.from_numpy(ground.label.copy()))
order = torch.randperm(len(chips))
chips, labels = chips[order], labels[order]
print(tuple(chips.shape), tuple(labels.shape), f"{float((labels == 1).float().mean()):.0%} cropland")


def loss_of(network, image, truth):
    each = F.binary_cross_entropy_with_logits(network(image)[:, 0], (truth == 1).float(), reduction="none")
    return (each * (truth != 255)).mean()


def make(norm="channel_norm"):
    torch.manual_seed(0)
    return nn.Sequential(Convolution(3, 8, norm=norm), Convolution(8, 8, norm=norm), nn.Conv2d(8, 1, 1))


# %% [markdown]
# ## Steps, not epochs
#
# One epoch over the same chips with batches of 4, 16 and 64: the smaller the batch, the more steps. Change the
# learning rate and look again.

# %%
LEARNING_RATE = 0.01
plt.figure(figsize=(6, 2.6))
for size in (4, 16, 64):
    network, losses = make(), []
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    for image, truth in zip(chips.split(size), labels.split(size), strict=True):
        loss = loss_of(network, image, truth)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    seen = [size * (step + 1) for step in range(len(losses))]
    plt.plot(seen, losses, label=str(size))
    latest = sum(losses[-3:]) / 3
    print("batch", f"{size:2}: {len(losses):2}", "steps, loss of the last three", f"{latest:.3f}")
plt.xlabel("chips")
plt.ylabel("loss")
plt.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## The noise of a batch
#
# The gradient of a batch is a guess at that of all chips. How far off is it? Four times the batch, about half the
# noise.


# %%
def gradient(network, image, truth):
    grads = torch.autograd.grad(loss_of(network, image, truth), list(network.parameters()))
    return torch.cat([each.flatten() for each in grads])


network = make()
each = torch.stack([gradient(network, chips[i : i + 1], labels[i : i + 1]) for i in range(128)])
for size in (1, 4, 16, 64):
    drawn = torch.stack([each[torch.randint(128, (size,))].mean(0) - each.mean(0) for _ in range(200)])
    print("batch", f"{size:2}", f"{float(drawn.norm(dim=1).mean() / each.mean(0).norm()):.2f}")

# %% [markdown]
# ## Time per chip
#
# Does a larger batch use the machine better? Forward and backward, timed in turn.

# %%
runs = {str(n): lambda n=n: loss_of(network, chips[:n], labels[:n]).backward() for n in (1, 8, 64)}
times = interleave(runs, cpu, rounds=9)
for n, its in times.items():
    print("batch", f"{n:>2}:", f"{its.ms.times(1 / int(n))}", "ms per chip")

# %% [markdown]
# This network is tiny: with one chip the calls cost more than the arithmetic. The networks of the lab have more to
# do, and there a larger batch may gain nothing; see its second claim.
#
# ## What the lab says

# %%
results = Results.load(Path(cropland.__file__).parents[2] / "docs" / "lab" / "results.json")
for name in ("batch.accumulation", "batch.throughput", "batch_gradient.noise", "batch_trained.speed"):
    display(Markdown(as_markdown(results, name, "en")))

# %% [markdown]
# ## Exercises
#
# Exercise 1: memory holds two chips, the batch is eight. The gradients of four parts are added up. With which of
# channel norm and batch norm is the sum equal to the gradient of the whole batch? Guess before you run.
#
# Exercise 2: 450 chips, batches of 8, the last one smaller, 10 epochs. How often do the weights change? Guess before
# you run.
#
# Answers:

# %%
for norm in ("channel_norm", "batch_norm"):
    network = make(norm)
    whole = gradient(network, chips[:8], labels[:8])
    parts = sum(gradient(network, chips[i : i + 2], labels[i : i + 2]) / 4 for i in range(0, 8, 2))
    off = float((whole - parts).norm() / whole.norm())
    print(norm, f"{off:.1e}")
    assert (off < 1e-4) == (norm == "channel_norm")  # batch norm takes its statistics from the part

# %%
steps = 10 * len(torch.arange(450).split(8))
print(steps)
assert steps == 10 * 57  # 450 / 8, rounded up, in each epoch
