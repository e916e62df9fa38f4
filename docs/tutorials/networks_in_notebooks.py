# %% [markdown]
# # Networks in notebooks
#
# Your network is in a notebook, between magics, plots and a training loop. This page writes such a notebook, as untidy as real ones are.

# %%
import json
import os
import tempfile
from pathlib import Path

import cropland
from cropland.cli import main as command_line
from cropland.demo import FIELDS, TILE
from cropland.errors import ModelError
from cropland.notebooks import importable, load

os.chdir(tempfile.mkdtemp())  # a temporary folder for everything that this page writes
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
# The command `cropland show` lists what the notebook offers, without running it:

# %%
_ = command_line(["show", "我的实验/net.ipynb"])

# %% [markdown]
# `Net` needs cells 2, 4 and 5. Nothing needs the loop and the cell that fails.
#
# ## Use it in Python

# %%
Net = load("我的实验/net.ipynb", "Net")
net = Net()
print(sum(weight.numel() for weight in net.parameters()), "parameters")

# %% [markdown]
# `width` is 8 there, as in a run from the top, because the last definition counts. An import statement gives the same class:

# %%
with importable("我的实验"):
    from net import Net as Again
assert Again is Net

# %% [markdown]
# ## Train it and map with it
#
# A recipe names the network. The network returns two classes after a softmax, and the program converts them to one logit, that of cropland.

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
cropland.cut_chips(TILE, FIELDS, "my_chips", background="known", size=128, validation=0.25)

# %%
cropland.train("mine.toml", "my_chips", "my_run")

# %% [markdown]
# ```bash
# cropland chips naip_minnesota.tif --labels naip_minnesota_fields.geojson --background known --size 128 --split validation=0.25 --out my_chips
# cropland train mine.toml --chips my_chips --out my_run
# ```
#
# The model file carries the code, so the notebook is no longer needed. The code runs only if you allow it:

# %%
Path("我的实验/net.ipynb").unlink()
try:
    cropland.Model.open("my_run/model.safetensors")
except ModelError as refused:
    print(refused)
else:
    raise AssertionError("code ran without trust")

# %%
cropland.Model.open("my_run/model.safetensors", trust=True).map(TILE)

# %% [markdown]
# ```bash
# cropland map naip_minnesota.tif --model my_run/model.safetensors --trust --out my_map
# ```
#
# ## Exercises
#
# 1. What does a traceback show when a method fails? Write a notebook with a method that raises an error, load its class, and call the method.
# 2. Why does `Net` not need cell 3, which also defines `Net`? Write a notebook in which the second definition needs the first.
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
# The second `Net` does not use the first. A class that is derived from the earlier class of the same name does:

# %%
derived = [{**cells[0], "source": "class A:\n    x = 1"}, {**cells[0], "source": "class A(A):\n    y = 2"}]
Path("derived.ipynb").write_text(json.dumps({**notebook, "cells": derived}), encoding="utf-8")
assert load("derived.ipynb", "A").x == 1
_ = command_line(["show", "derived.ipynb"])

# %% [markdown]
# ## What to do next
#
# - [Use code from a notebook](../how_to/use_code_from_a_notebook.md): what this replaces, line by line, and which outputs are adapted.
# - [Choose a block](choose_a_block.py): a block of your own, named by its file.
# - [Run the lab](../how_to/run_the_lab.md) on your network: what each layer costs.
