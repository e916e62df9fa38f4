"""Contenders as processes of their own, in turn: seconds of the work and of the whole process, and peak memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from places import CHILDREN, THREADS, WORK

LIMIT_S = 900


class ChildError(Exception):
    """A child that ended with another status than 0; the last line of what it said."""


@dataclass
class Runs:
    """What repeats of one contender took: seconds reading to writing, of the whole process, and its peak in MB."""

    seconds: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    missing: str = ""  # why there are none

    @property
    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"missing": self.missing} if self.missing else {k: v for k, v in vars(self).items() if k != "missing"}

    def add(self, run: Callable[[], tuple[float, float, float]]) -> None:
        """Once more, unless it failed before."""
        if self.missing:
            return
        try:
            seconds, whole, peak = run()
        except ChildError as error:
            self.missing = str(error)
            return
        self.seconds.append(seconds)
        self.whole.append(whole)
        self.peak_mb.append(peak)


def in_turn(contenders: Mapping[str, Callable[[], tuple[float, float, float]]], *, rounds: int) -> dict[str, Runs]:
    """Round after round, so that what disturbs the machine disturbs all of them."""
    found = {name: Runs() for name in contenders}
    for number in range(rounds):
        for name, run in contenders.items():
            found[name].add(run)
            told = found[name].missing or f"{found[name].seconds[-1]:8.2f} s, {found[name].peak_mb[-1]:8,.0f} MB"
            print(f"  {number + 1}/{rounds} {name:40} {told}", flush=True)
    return found


def child(script: str, *words: str, python: str = sys.executable) -> tuple[float, float, float]:
    """Run one of `children/`: seconds that it tells, seconds of the process, peak in MB. Raises `ChildError`."""
    told = ask(script, *words, python=python)
    return told["seconds"], told["whole"], told["peak_mb"]


def ask(script: str, *words: str, python: str = sys.executable, gpus: str = "") -> dict[str, Any]:
    """Run one of `children/`: all that it tells, and the seconds of the process. Raises `ChildError`.

    gpus: the numbers of those that it sees.
    """
    use_two_cores()
    command, begun = [python, str(CHILDREN / script), *words], time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", env=_surroundings(gpus), timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise ChildError(f"not done after {LIMIT_S} s") from None
    whole = time.perf_counter() - begun
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        raise ChildError(said[-1][:300])
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "whole": whole}


def use_two_cores() -> None:
    """Everything that is started from here on runs on the same two cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])


def _surroundings(gpus: str) -> dict[str, str]:
    # Where bytecode is not written every start compiles every import anew; nothing is fetched while it is timed.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    quiet = {"CUDA_VISIBLE_DEVICES": gpus, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    return {**kept, **quiet, "OMP_NUM_THREADS": str(THREADS), "CROPLAND_CACHE": str(WORK / "cache")}


def middle(runs: Mapping[str, Any], what: str) -> float | None:
    """The median, or None where there is none."""
    return median(runs[what]) if runs.get(what) else None
