"""Measurements of trained students: cost, robustness and maps; and the simple detectors of anomalies.

Measurements start from a finished record and add files to it. Test scores are part of a training (`training/`); tables
and pages of these numbers are made in `report/`.
"""
