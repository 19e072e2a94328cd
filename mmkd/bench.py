"""`python -m mmkd.bench`: teachers, students and their comparison from the command line. The command is `cli.bench`."""

from mmkd.cli.bench import main, script

__all__ = ["main", "script"]

if __name__ == "__main__":
    script()
