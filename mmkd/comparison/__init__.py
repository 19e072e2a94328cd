"""Records as groups of rows that may be compared, with their statistics. Needs neither torch nor mlflow.

Which records may meet, what a row is, changes, gaps, rankings and evidence from predictions belong here; how they are
printed or drawn belongs in `report/` and `drawing/`.
"""
