"""What a unit, a teacher and their data are, in plain values, and the keys that these values make.

Everything that shapes a result is a field here, and nothing else is: device, threads and folders are not. Light enough
for `--help`; what resolves a request to these values belongs in `units/`.
"""
