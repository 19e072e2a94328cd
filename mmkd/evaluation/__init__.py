"""What is measured of stored students and series: cost, robustness, maps, and the simple detectors beside them.

Everything here starts from a finished record and adds files to it. Test scores are part of a training (`training/`);
tables and pages of these numbers are made in `report/`.
"""
