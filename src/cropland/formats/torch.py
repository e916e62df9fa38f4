"""PyTorch: a program of torch.export, which runs without the code of the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from cropland.formats import KEY, Run

__all__ = ["TorchProgram"]


class TorchProgram:
    """For `torch.export.load`; the facts are its extra file `cropland`."""

    suffix = ".pt2"

    @staticmethod
    def write(program: ExportedProgram, facts: Mapping[str, Any], path: Path) -> None:
        """Write one file."""
        torch.export.save(program, path, extra_files={KEY: json.dumps(facts, ensure_ascii=False)})

    @staticmethod
    def read(path: Path) -> Run:
        """As it computes on the CPU."""
        module = torch.export.load(path).module()
        return torch.inference_mode()(lambda image: module(torch.from_numpy(image)).numpy())
