"""Anomaly detection: metrics, simple detectors, scores of every time step, and the unit of this task."""
