"""cropland beside torchvision's wheel: python with_torchvision.py map ...

PyPI's torchvision is built for CUDA builds of PyTorch: beside a CPU build its own operators are missing, and it
declares what becomes of their shapes before anything else. Declaring the operators, which nothing here calls, lets it
import.
"""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import torch

from cropland.cli import main

DECLARED = re.compile(r"register_(?:meta|fake)\(\s*\"(?:torchvision::)?(\w+)\"")


def declare() -> torch.library.Library:
    """Name every operator that torchvision speaks of; they are forgotten when what is returned is."""
    spec = find_spec("torchvision")
    assert spec and spec.origin, "torchvision is not installed"
    text = (Path(spec.origin).parent / "_meta_registrations.py").read_text(encoding="utf-8")
    library = torch.library.Library("torchvision", "DEF")
    for name in sorted(set(DECLARED.findall(text))):
        library.define(f"{name}(Tensor x) -> Tensor")
    return library


if __name__ == "__main__":
    declared = declare()
    sys.exit(main())
