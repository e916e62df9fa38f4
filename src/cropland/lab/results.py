"""What one machine found, as results.json holds it."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import psutil
import torch

from cropland import __version__
from cropland.errors import InputError
from cropland.files import write_json
from cropland.lab.claim import Finding

FORMAT = 1
NAME = "results.json"


@dataclass(frozen=True)
class Results:
    """The findings of one run on one machine."""

    machine: Mapping[str, Any]
    budget: str
    findings: Sequence[Finding]

    @property
    def name(self) -> str:
        """The machine's name for a column."""
        return str(self.machine["device"])

    def save(self, folder: Path) -> Path:
        """Write results.json, by renaming."""
        plain = {
            "format": FORMAT,
            "machine": dict(self.machine),
            "budget": self.budget,
            "findings": [finding.plain() for finding in self.findings],
        }
        path = folder / NAME
        write_json(path, plain)
        return path

    @staticmethod
    def load(path: Path) -> Results:
        """Read results.json. Raises `InputError` if it is missing or something else."""
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            if plain["format"] != FORMAT:
                raise InputError(
                    "{path} has format {came}, expected {known}: run `cropland lab` again",
                    path=path,
                    came=plain["format"],
                    known=FORMAT,
                )
            return Results(plain["machine"], plain["budget"], tuple(map(Finding.of, plain["findings"])))
        except FileNotFoundError as error:
            raise InputError(
                "no file {path}; name results.json of a folder that `cropland lab` wrote", path=path
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError("{path} is not what `cropland lab` writes; name its results.json", path=path) from error


def merged(runs: Iterable[Results]) -> list[Results]:
    """One per machine, with the findings of all its runs; of two of the same claim the later one."""
    known: dict[str, Results] = {}
    for each in runs:
        before = known.get(each.name)
        found = {finding.claim: finding for finding in (*(before.findings if before else ()), *each.findings)}
        known[each.name] = replace(before or each, findings=tuple(found.values()))
    return list(known.values())


def this_machine(device: torch.device) -> dict[str, Any]:
    """What decides how fast things are: processor, threads, memory, versions."""
    cuda = device.type == "cuda"
    return {
        "kind": device.type,
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "features": _capability(device),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(_memory(device) / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "cropland": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "openvino": version("openvino"),
            **({"cuda": str(torch.version.cuda)} if cuda else {}),
        },
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
    }


def _capability(device: torch.device) -> str:
    if device.type == "cuda":
        return "sm_{}{}".format(*torch.cuda.get_device_capability(device))
    return torch.backends.cpu.get_cpu_capability()


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return int(psutil.virtual_memory().total)


def _processor() -> str:
    """The processor's name as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found[1].strip() if found else platform.processor() or platform.machine()
