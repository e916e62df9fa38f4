"""Training steps of the shipped network in bfloat16, with gradients of depthwise convolutions in it and in float32.

    python benchmarks/depthwise_gradients.py

Prints the milliseconds of one forward and backward pass of a batch of 8 x 256 x 256 (medians, in turn), and the ratio.
"""

from statistics import median
from time import perf_counter

import torch

from cropland.model import ModelFile, default_model
from cropland.training.memory import autocast, keep_memory

ROUNDS = 9
CPU = torch.device("cpu")
WAYS = {
    "bfloat16 throughout": lambda: torch.autocast("cpu", torch.bfloat16),
    "depthwise gradients in float32": lambda: autocast(CPU, "bfloat16"),
}


def main() -> None:
    torch.set_num_threads(2)
    keep_memory(CPU)
    network = ModelFile.load(default_model()).network().train().to(memory_format=torch.channels_last)
    image = torch.randn(8, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(ROUNDS + 1):
        for way, context in WAYS.items():
            begun = perf_counter()
            with context():
                logits = network(image)
            logits.float().mean().backward()
            if turn:
                found[way].append(perf_counter() - begun)
    for way, seconds in found.items():
        print(f"{way:32} {1000 * median(seconds):6.0f} ms")
    slow, fast = (median(found[way]) for way in WAYS)
    print(f"{'ratio':32} {slow / fast:6.2f}")


if __name__ == "__main__":
    main()
