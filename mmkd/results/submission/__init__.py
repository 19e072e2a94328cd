"""Results that a stranger made: their CSV is data that nobody trusts, checked without executing anything.

`reading` cuts the file into lines, `values` checks each field, `rules` what lines say together, `method_file` parses
the method's file; `checking` does all of it, and `placing` says where right results would stand. Numbers come from the
file as they are: nobody here can know whether they were measured. That a person verifies with the method's file.
"""
