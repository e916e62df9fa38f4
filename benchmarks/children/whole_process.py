"""The command line of cropland, as a person would type it."""

import sys
import time

from cropland.cli import main
from told import tell

begun = time.perf_counter()
status = main(sys.argv[1:])
tell(time.perf_counter() - begun)
sys.exit(status)
