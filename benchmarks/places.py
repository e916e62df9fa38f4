"""Where benchmarks keep things: scenes and environments outside the tree, results and the page in it."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = Path(os.environ.get("CROPLAND_BENCH", ROOT / "build" / "bench"))  # some 7 GB of environments, 8 GB of scenes
QUICK = bool(os.environ.get("CROPLAND_BENCH_QUICK"))  # one round of small scenes, to see whether all runs
CHILDREN = Path(__file__).with_name("children")
PAGES = Path(__file__).with_name("pages")  # the words
RESULTS = WORK / "quick" if QUICK else Path(__file__).with_name("results")
DOCS = WORK / "quick" if QUICK else ROOT / "docs"
THREADS = 2
ROUNDS = 1 if QUICK else 5
