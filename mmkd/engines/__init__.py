"""Run many units: the plan of jobs, and the engines that run them in this process, in worker processes, or on Ray.

This package decides what is run, skipped, retried and reported as a result. What one job does is in `training/`.
"""
