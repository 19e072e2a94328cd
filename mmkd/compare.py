"""`python -m mmkd.compare`: the records of a suite as tables, statistics and files. The command is `cli.compare`."""

import sys

from mmkd.cli.compare import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
