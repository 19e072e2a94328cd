"""`python -m mmkd.export`: a student as files for a device. The command is `cli.export`."""

import sys

from mmkd.cli.export import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
