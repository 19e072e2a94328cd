"""The comparison as one HTML page with its figures, and each figure as a file of its own.

`render` makes the page, `section` what it shows of one group; the other modules make the parts of a section. The
template, style and script are the files of `mmkd/report/web/`.
"""

from mmkd.report.page.render import page_files

__all__ = ["page_files"]
