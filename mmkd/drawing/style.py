"""Colours, line styles and markers of figures, and the style sheet of a page that shows them.

Elements carry class names. A page gives the classes their colours with `css`, in a light and a dark scheme; a file of
its own has the light colours written into every element, and the dark ones in a style sheet (`svg.standalone`).
"""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

LIGHT = {
    "ink": "#1c1f23",
    "muted": "#5a6068",
    "grid": "#dfe2e6",
    "paper": "#ffffff",
    "s0": "#0072b2",
    "s1": "#c24e00",
    "s2": "#117733",
    "s3": "#aa4499",
    "s4": "#8a6a00",
    "s5": "#332288",
    "s6": "#882255",
    "s7": "#555555",
}
DARK = {
    "ink": "#e6e8eb",
    "muted": "#a3aab3",
    "grid": "#363c44",
    "paper": "#14171b",
    "s0": "#56b4e9",
    "s1": "#ff9452",
    "s2": "#4dc18a",
    "s3": "#e08fc6",
    "s4": "#d9b23c",
    "s5": "#a79bf0",
    "s6": "#f07b9b",
    "s7": "#b8b8b8",
}
SERIES = 8
"""Colours of series, which colour-blind readers can distinguish; dashes and markers distinguish them a second time."""
DASHES = ("", "7 3", "2 3", "9 3 2 3")
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "plus")

STYLES: dict[str, dict[str, str]] = {
    "text": {"fill": "@ink", "font-size": "13px"},
    "small": {"fill": "@ink", "font-size": "12px"},
    "faint": {"fill": "@muted", "font-size": "12px"},
    "grid": {"stroke": "@grid", "stroke-width": "1", "fill": "none"},
    "axis": {"stroke": "@muted", "stroke-width": "1", "fill": "none"},
    "line": {"stroke": "currentColor", "stroke-width": "1.8", "fill": "none", "stroke-linejoin": "round"},
    "thick": {"stroke": "currentColor", "stroke-width": "4.5", "fill": "none"},
    "thin": {"stroke": "currentColor", "stroke-width": "1.1", "fill": "none"},
    "guide": {"stroke": "@muted", "stroke-width": "1.2", "stroke-dasharray": "4 3", "fill": "none"},
    "band": {"fill": "currentColor", "fill-opacity": "0.18", "stroke": "none"},
    "bar": {"fill": "currentColor", "fill-opacity": "0.45", "stroke": "currentColor", "stroke-width": "1"},
    "cell": {"fill": "currentColor", "stroke": "none"},
    "solid": {"fill": "currentColor", "stroke": "@paper", "stroke-width": "0.8"},
    "hollow": {"fill": "@paper", "stroke": "currentColor", "stroke-width": "1.6"},
    **{f"s{n}": {"color": f"@s{n}"} for n in range(SERIES)},
}
"""Class name -> properties; a value such as `@ink` is a colour of the scheme."""

CLASS_COLOURS = (
    "#d9d9d9", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#332288", "#999933", "#882255",
    "#44aa99", "#f0e442", "#661100", "#6699cc", "#aa4466", "#117733", "#ddcc77", "#7f7f7f", "#aa44ff", "#00bcd4",
)  # fmt: skip
"""Colours of the classes in a labelled recording or image; class 0, often the null class, is light grey."""


def css() -> str:
    """The style sheet of the figures, for a page that defines the colours as `--ink` and so on."""
    rules = [f".chart{{font-family:{FONT}}}"]
    for name, style in STYLES.items():
        body = ";".join(f"{key}:{f'var(--{v[1:]})' if v[:1] == '@' else v}" for key, v in style.items())
        rules.append(f".chart .{name}{{{body}}}")
    return "\n".join(rules)


def series_class(number: int) -> str:
    """The class name of the colour of a series."""
    return f"s{number % SERIES}"


def series_dash(number: int) -> str:
    """The dash pattern of a series: series of the same colour, and neighbours, differ."""
    return DASHES[(number + number // SERIES) % len(DASHES)] or "none"


def series_shape(number: int) -> str:
    """The marker of a series."""
    return SHAPES[number % len(SHAPES)]


def class_colour(number: int) -> str:
    """The colour of a class, as `#rrggbb`; colours repeat after 20 classes."""
    return CLASS_COLOURS[number % len(CLASS_COLOURS)]
