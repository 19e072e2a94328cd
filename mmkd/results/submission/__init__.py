"""Results that a stranger made: their CSV is data that nobody trusts, checked without executing anything.

`reading` cuts the file into lines, `values` checks each field, `rules` what lines say together, `method_file` parses
the method's file; `checking` does all of it, `placing` says where right results would stand, and `joining` puts all
that was sent in together, each sender under names of its own. Numbers come from the
file as they are: nobody here can know whether they were measured. That a person verifies with the method's file.
"""
