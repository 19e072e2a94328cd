"""Scores from plain arrays: of classes, steps, segments, series, and statistics of paired scores.

A metric has an entry with its name, label, direction and format; tables, CSV, page and MLflow read it from there.
Records, tables and torch do not belong here.
"""
