"""python -m docs.maker [FOLDER]: the site of the documents, in FOLDER/site; without a folder in build/docs/site."""

import sys
from pathlib import Path

from docs.maker.assemble import build

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2] / "build" / "docs")
    made = build(folder)
    count = len(list(made.rglob("*.html")))
    print(f"{count} pages in {made}: python -m http.server -d {made}")
