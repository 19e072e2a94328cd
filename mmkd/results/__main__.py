"""`python -m mmkd.results`: results of a frozen benchmark, and what others add. The command is `cli.results`."""

import sys

from mmkd.cli.results import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
