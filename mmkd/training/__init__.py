"""How one network is trained: the loop, checkpoints, teachers and their outputs, and one unit from data to record.

There is one training loop, `loop.train`, for teachers and students. Many units, processes and their order belong in
`engines/`; measurements of a trained student in `evaluation/`.
"""
