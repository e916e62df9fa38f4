"""How soon a second start maps: seconds until the first band is through, from the cache and without torch.

python benchmarks/start.py
"""

import json
import time
from typing import Any

from places import ROUNDS, THREADS
from processes import child, in_turn
from results import save
from scenes import scene

SIZE = (4096, 4096)


def measure() -> dict[str, Any]:
    """From when the process is asked for to when the band is through; the first start converts, and is not counted."""
    job = {"scene": str(scene(*SIZE)), "threads": THREADS}
    runs = {"first band": lambda: child("first_band.py", json.dumps({**job, "begun": time.time()}))}
    _, *others = in_turn(runs, rounds=ROUNDS + 1)["first band"].seconds or [0.0]
    return {"seconds": others}


if __name__ == "__main__":
    save("start", measure)
