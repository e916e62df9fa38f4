# %% [markdown]
# # Networks in notebooks
#
# Your network lives in a notebook, between magics, plots and a training loop. Here is such a notebook; it is written by this page, and left as messy as
# they are.

# %%
import json
import os
import tempfile
from pathlib import Path

from cropland.cli import main as cropland
from cropland.demo import FIELDS, TILE
from cropland.notebooks import importable, load

os.chdir(tempfile.mkdtemp())
EPOCHS = 1 if os.environ.get("CROPLAND_SHORT") else 3  # the tests run this page in its short form

CELLS = [
    "%matplotlib inline\n!nvidia-smi",
    "import torch\nfrom torch import nn\nwidth = 4",
    "class Net(nn.Module):\n    pass  # to do",
    "def layer(a, b):\n    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())",
    "width = 8\n"
    "class Net(nn.Module):\n"
    "    def __init__(self):\n"
    "        super().__init__()\n"
    "        self.down = nn.Sequential(layer(3, width), nn.MaxPool2d(2), layer(width, 2 * width))\n"
    "        self.up = nn.Sequential(nn.Upsample(scale_factor=2), layer(2 * width, width), nn.Conv2d(width, 2, 1))\n"
    "    def forward(self, x):\n"
    "        return self.up(self.down(x)).softmax(1)",
    "data = open('/not/on/this/machine.npy')",
    "net = Net()\nfor epoch in range(1000):\n    print(epoch)",
]
Path("我的实验").mkdir()
cells = [{"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": c} for c in CELLS]
notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
_ = Path("我的实验/net.ipynb").write_text(json.dumps(notebook), encoding="utf-8")

# %% [markdown]
# ## What is in it?
#
# Nothing runs to tell you:

# %%
_ = cropland(["show", "我的实验/net.ipynb"])

# %% [markdown]
# `Net` needs cells 2, 4 and 5. The loop and the cell that fails are needed by nobody.
#
# ## Use it in Python

# %%
Net = load("我的实验/net.ipynb", "Net")
net = Net()
print(sum(weight.numel() for weight in net.parameters()), "parameters")

# %% [markdown]
# `width` is 8 there, as in a run from the top: the last definition wins. An import statement does the same:

# %%
with importable("我的实验"):
    from net import Net as Again
assert Again is Net

# %% [markdown]
# ## Train it and map with it
#
# A recipe names it. It gives two classes after a softmax, which becomes one logit: that of cropland.

# %%
Path("mine.toml").write_text(
    f"""
name = "mine"
[network]
name = "我的实验/net.ipynb:Net"
[sampling]
crop = 64
[training]
epochs = {EPOCHS}
chips_per_epoch = 64
learning_rate = 0.005
""",
    encoding="utf-8",
)
words = f"chips {TILE} --labels {FIELDS} --background known --size 128 --split validation=0.25 --out my_chips"
_ = cropland(words.split())
_ = cropland("train mine.toml --chips my_chips --out my_run".split())

# %% [markdown]
# The model file carries the code, so the notebook may be gone. Code runs only when you say so:

# %%
Path("我的实验/net.ipynb").unlink()
status = cropland(f"map {TILE} --model my_run/model.safetensors --out my_map".split())
assert status == 2  # refused, with a line that says why
_ = cropland(f"map {TILE} --model my_run/model.safetensors --trust --out my_map".split())

# %% [markdown]
# ## Exercises
#
# 1. What does a traceback show when a method fails? Write a notebook with a method that raises, load its class, and call it.
# 2. Why does `Net` not need cell 3, which also defines `Net`? Make it need it.
#
# Answers:

# %%
import traceback

bad = {**notebook, "cells": [{**cells[0], "source": "class Bad:\n    def go(self):\n        raise ValueError('here')"}]}
Path("bad.ipynb").write_text(json.dumps(bad), encoding="utf-8")
try:
    load("bad.ipynb", "Bad")().go()
except ValueError:
    told = traceback.format_exc()
print(told)
assert "bad.ipynb, cell 1" in told and "line 3" in told

# %% [markdown]
# The second `Net` does not read the first. It would if it were derived from it:

# %%
derived = [{**cells[0], "source": "class A:\n    x = 1"}, {**cells[0], "source": "class A(A):\n    y = 2"}]
Path("derived.ipynb").write_text(json.dumps({**notebook, "cells": derived}), encoding="utf-8")
assert load("derived.ipynb", "A").x == 1
_ = cropland(["show", "derived.ipynb"])

# %% [markdown]
# ## What to do next
#
# - [Use code from a notebook](../how_to/use_code_from_a_notebook.md): what this replaces, line by line, and what is fitted.
# - [Choose a block](choose_a_block.py): a block of your own by its file.
# - [Run the lab](../how_to/run_the_lab.md) on your network: what it costs, layer by layer.
