"""The commands: flags, lists, help, what is printed, exit codes.

A command turns flags into a request and prints results; whatever also makes sense from Python belongs in `mmkd.api` or
below. `mmkd/bench.py`, `compare.py`, `export.py` and `data/__main__.py` are its doors.
"""
