"""`python -m mmkd`: the version and the commands. The command is `cli.commands`."""

import sys

from mmkd.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
