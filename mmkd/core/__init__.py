"""The foundation that every package uses: errors, options, registries, keys and seeds, text, progress, memory.

Nothing here knows what a data set, a network, a method or a record is. A helper that two packages need and that
concerns neither package's subject belongs here; anything that concerns one subject belongs in the package of that
subject.
"""
