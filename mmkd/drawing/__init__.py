"""Figures as SVG from numbers and names, for the page and for records alike.

Arrays and texts go in, an SVG element comes out: `svg.inline` puts it into a page, `svg.standalone` into a file.
Records, files and torch do not belong here.
"""
