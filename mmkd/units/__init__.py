"""What was asked for, as units: requests, their expansion with every default filled in, names, results.

A unit is one (data, split, seed, teachers, student, method with its options); its plain values are in `specs/`. How a
unit is trained belongs in `training/`, how many are done in `engines/`.
"""
