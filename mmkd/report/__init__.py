"""The comparison for people and other programs: text, CSV, LaTeX, one HTML page, tsml files, MLflow.

Numbers come from `comparison/`, figures from `drawing/`; nothing is computed from predictions here. Only the module
`mlflow` imports mlflow.
"""
