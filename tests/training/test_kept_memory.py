import json
import platform
import subprocess
import sys

import pytest

CHILD = """
import json, resource, sys, torch
from cropland.training.kept_memory import keep_memory
kept = keep_memory(torch.device("cpu")) if sys.argv[1] == "kept" else None
for _ in range(6):
    torch.ones(2**24).sum()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(2**24).sum()
print(json.dumps([kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before]))
"""


def pages(way: str) -> tuple[bool | None, int]:
    done = subprocess.run([sys.executable, "-c", CHILD, way], capture_output=True, encoding="utf-8", check=True)
    kept, count = json.loads(done.stdout)
    return kept, count


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the switch")
def test_memory_is_made_present_once():
    _, anew = pages("given back")
    kept, again = pages("kept")
    assert kept is True
    assert again < anew / 2
