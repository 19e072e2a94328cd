"""Windows from recordings that nobody has prepared: `python -m mmkd.data window`.

A file is read as a table, a row a sample (`formats`). Its rows become runs of one subject and recording, their stamps a
regular grid between gaps (`times`, `grid`), and these parts are cut into windows (`cut`). What is suspicious is told
with counts, and refused where the windows would be wrong (`suspicions`).
"""
