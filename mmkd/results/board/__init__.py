"""The board: results of a frozen benchmark as one page that stands alone.

`page.board_files` makes it. `decisions` reads what rules of the protocol decided; `answers` says in sentences what
the statistics of `mmkd.results.standing` say; `tables` and `figures` show them. The template, style and script are in
`web/`.
"""

from mmkd.results.board.page import board_files

__all__ = ["board_files"]
