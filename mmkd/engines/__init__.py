"""Many units: the plan of jobs, and the engines that do them, in this process, in others, or on Ray.

What is done, skipped, retried and reported as a result is decided here. What one job does is in `training/`.
"""
