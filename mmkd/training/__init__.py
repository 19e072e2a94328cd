"""How one network is trained: the loop, checkpoints, teachers, their outputs, one unit from data to record.

The only loop of the house is `loop.train`; teachers and students go through it alike. Many units, processes and their
order belong in `engines/`; what is measured of a finished student in `evaluation/`.
"""
