"""How soon a second start maps: seconds until the first band is through, from the cache and without torch.

python benchmarks/start.py
"""

import json
from functools import partial
from typing import Any

from places import ROUNDS, THREADS
from processes import child, in_turn
from results import save
from scenes import scene

SIZE = (4096, 4096)


def measure() -> dict[str, Any]:
    """Of whole processes, which end after the band; the first start converts, and is not counted."""
    run = partial(child, "first_band.py", json.dumps({"scene": str(scene(*SIZE)), "threads": THREADS}))
    _, *others = in_turn({"first band": run}, rounds=ROUNDS + 1)["first band"].whole or [0.0]
    return {"seconds": others}


if __name__ == "__main__":
    save("start", measure)
