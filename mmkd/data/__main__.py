"""`python -m mmkd.data`: fetch, prepare and check data sets. The command is `cli.data`."""

import sys

from mmkd.cli.data import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
