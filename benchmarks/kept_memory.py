"""Training steps of the shipped network with memory given back to the system and with memory kept, in turn.

    python benchmarks/kept_memory.py

Prints seconds per step, pages made present per step and peak memory of each, and the ratio (medians of five processes).
"""

import json
import subprocess
import sys
from statistics import median

ROUNDS, STEPS = 5, 6
CHILD = f"""
import json, resource, sys, time, torch
from cropland.model import ModelFile, default_model
from cropland.training.memory import keep_memory
if sys.argv[1] == "kept":
    assert keep_memory(torch.device("cpu")), "this C library has no such switch"
network = ModelFile.load(default_model()).network().train().to(memory_format=torch.channels_last)
image = torch.randn(8, 3, 256, 256).contiguous(memory_format=torch.channels_last)
times, before = [], 0
for step in range({STEPS} + 2):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    begun = time.perf_counter()
    network(image).mean().backward()
    times.append(time.perf_counter() - begun)
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([sorted(times[2:])[{STEPS} // 2], (used.ru_minflt - before) / {STEPS}, used.ru_maxrss / 1e6]))
"""


def measure(way: str) -> list[float]:
    done = subprocess.run([sys.executable, "-c", CHILD, way], capture_output=True, encoding="utf-8", check=True)
    return json.loads(done.stdout)


def main() -> None:
    found = {"given back": [], "kept": []}
    for _ in range(ROUNDS):
        for way, rows in found.items():
            rows.append(measure(way))
    for way, rows in found.items():
        seconds, pages, peak = (median(column) for column in zip(*rows, strict=True))
        print(f"{way:10} {seconds:.3f} s per step, {pages:9,.0f} pages per step, peak {peak:.2f} GB")
    ratios = [a[0] / b[0] for a, b in zip(*found.values(), strict=True)]
    print(f"kept is {median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
