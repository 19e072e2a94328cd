"""What everything stands on: errors, options, registries, keys and seeds, texts, progress, memory.

Nothing here knows what a data set, a network, a method or a record is. A helper that two rooms need and that is about
none of their nouns belongs here; what knows a noun belongs in the room of that noun.
"""
