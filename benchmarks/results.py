"""Results as JSON: one file per question, with the machine that gave it."""

import json
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from cropland import __version__
from places import RESULTS, ROOT, THREADS

PACKAGES = ("torch", "openvino", "rasterio", "numpy")


def save(question: str, measure: Callable[[], dict[str, Any]], folder: Path = RESULTS) -> dict[str, Any]:
    """Measure, and keep what came."""
    before, begun = busy(), time.monotonic()
    figures = measure()
    minutes = (time.monotonic() - begun) / 60
    about = {"question": question, "machine": machine(), "busy": max(before, busy()), "minutes": minutes}
    kept = {**about, "figures": figures}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{question}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return kept


def load(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """What was measured, by question."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def busy() -> float:
    """How many cores others use, while nothing of this is running."""
    return psutil.cpu_percent(interval=2.0) / 100 * (psutil.cpu_count() or 1)


def machine() -> dict[str, Any]:
    """What a reader must know to compare."""
    return {
        "processor": _processor(),
        "cores": THREADS,
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "cropland": f"{__version__} ({_commit()})",
        "packages": {name: version(name) for name in PACKAGES},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    named = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    flags = named.get("flags", "").split()
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return ", ".join([named.get("model name") or platform.processor() or platform.machine(), *known])


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, encoding="utf-8")
    return done.stdout.strip() or "no commit"
