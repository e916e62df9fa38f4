"""`python -m cropland`."""

import sys

from cropland.cli import main

if __name__ == "__main__":
    sys.exit(main())
