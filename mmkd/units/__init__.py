"""Requests of users, their expansion to units with all defaults filled in, and the names and results of units.

A unit is one combination of data, split, seed, teachers, student, and method with its options; its spec is in `specs/`.
How a unit is trained belongs in `training/`, how many units are run in `engines/`.
"""
