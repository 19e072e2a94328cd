"""The comparison for people and other programs: text, CSV, LaTeX, one HTML page, tsml files, MLflow.

Numbers come from `comparison/`, figures from `drawing/`; nothing is computed from predictions here. `mlflow` is the only
module of the house that imports mlflow.
"""
