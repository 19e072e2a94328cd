"""A page for each method: its docstrings, its options, and the results on record."""

import inspect
import re
import sys
from typing import Any

import numpy as np

from docs.maker import on_record
from mmkd.core.options import describe
from mmkd.core.ranges import in_words, tuned_in
from mmkd.core.registry import METHODS
from mmkd.methods.configs import LogitConfig
from mmkd.methods.contract import STATUSES, UNLABELLED

COMMAND = "python -m mmkd.bench --method {names}"
USE = "Use it when"
OPTIONS = "| option, default | what it is |\n|---|---|\n"


def page_of(name: str) -> str:
    """The path of a method's page on the site."""
    return f"methods/{name.replace('+', '-')}.md"


def use_of(method: type) -> str:
    """When one would use a method: the paragraph of its docstring that begins with "Use it when"; empty without."""
    paragraphs = inspect.cleandoc(vars(method).get("__doc__") or "").split("\n\n")
    return next((" ".join(p.split()) for p in paragraphs if p.startswith(USE)), "")


def pages() -> dict[str, str]:
    """Path on the site -> text, of all methods of mmkd."""
    return {page_of(name): page(name) for name in METHODS}


def page(name: str) -> str:
    """The page of one method."""
    method = METHODS.get(name)
    module = sys.modules[method.__module__]
    first = inspect.cleandoc(vars(method)["__doc__"]).split("\n")[0]
    parts = [f"# {name}", first]
    if use_of(method):
        parts.append(use_of(method))
    names = name if name == "student" else f"student,{name}"
    parts += [f"```sh\n{COMMAND.format(names=names)}\n```", _facts(method)]
    parts += ["## Loss, and what we follow", *_prose(inspect.cleandoc(module.__doc__ or ""))]
    parts += ["## Options", *_options(method.Config)]
    parts += ["## Results on record", *_results(name)]
    parts.append(f"The code: `baselines/{module.__name__.rpartition('.')[2]}.py`.")
    return "\n\n".join(parts) + "\n"


def _facts(method: Any) -> str:
    facts = [f"- status: {method.status} ({STATUSES[method.status]})"]
    if method.ablations:
        values = [f"`{key}={own}`" for key, several in method.ablations.items() for own in several]
        facts.append("- ablations, which tables show among the controls: " + ", ".join(values))
    facts.append("- tasks: " + ", ".join(sorted(method.tasks)))
    if not method.distils:
        facts.append("- needs no teacher")
    else:
        needs = ", ".join(f"`{need}`" for need in sorted(method.needs)) or "nothing of the teachers"
        most = f"; at least {method.minimum_teachers} teachers" if method.minimum_teachers > 1 else ""
        facts.append(f"- reads: {needs}{most}")
    facts.append(f"- with few labels: {UNLABELLED[method.unlabelled]}")
    return "\n".join(facts)


def _prose(text: str) -> list[str]:
    """A docstring as Markdown: addresses become links, and a colon before a list ends its paragraph."""
    text = re.sub(r"(?<![<(])\bhttps?://[^\s,;]+[\w/]", lambda match: f"<{match[0]}>", text)
    text = re.sub(r"(?m)^([^\n-].*)\n- ", r"\1\n\n- ", text)
    return [re.sub(r"(?<!\\)([*])", r"\\\1", paragraph) for paragraph in text.split("\n\n")]


def _shared() -> dict[str, tuple[str, str, object, str]]:
    """Flag -> what `describe` says of it, of the options of `student` and of all that teach by logits."""
    alone = {line[0]: line for line in describe(METHODS.get("student").Config)}
    return {**alone, **{line[0]: line for line in describe(LogitConfig)}}


def _row(line: tuple[str, str, object, str], tried: str = "") -> str:
    """An option as a row of a table."""
    flag, words, default, text = line
    shown = str(default).lower() if default is None or isinstance(default, bool) else str(default)
    shown = f"{default:.3g}" if isinstance(default, float) and len(shown) > 6 else shown
    said = words == "str" or all(re.search(rf"\b{word}\b", text) for word in words.split("|"))
    about = (text if said else f"{text} ({words.replace('|', ', ')})").replace("|", "&#124;")
    return f"| `--{flag}`<br>`{shown}` | {about}{f'; `--tune` tries {tried}' if tried else ''} |"


def shared_options() -> str:
    """The options that many methods have, as a table for the page of options."""
    return OPTIONS + "\n".join(_row(line) for line in _shared().values())


def _options(config: type) -> list[str]:
    """The method's own options as a table, and the names of those that others have too."""
    tried = {name.replace("_", "-"): in_words(tune) for name, tune in tuned_in(config).items()}
    lines = describe(config)
    own = [line for line in lines if _shared().get(line[0]) != line]
    others = ", ".join(f"`--{line[0]}`" for line in lines if line not in own)
    parts = [OPTIONS + "\n".join(_row(line, tried.get(line[0], "")) for line in own)] if own else ["None of its own."]
    if others:
        parts.append(f"As others do it takes {others}: [what they are](../options.md#options-of-most-methods).")
    return parts


def _results(name: str) -> list[str]:
    parts = []
    if name in on_record.costs():
        parts.append(
            f"A training step costs {on_record.costs()[name]:g} steps of the student alone on `hapt6`, with the"
            " teachers' outputs from the cache ([how it was measured](../measured/hapt6-methods.md))."
        )
    for term, norms in on_record.scales().get(name, {}).items():
        parts.append(
            f"Its term `{term}` has a gradient of {np.median(norms):.2g} times that of cross-entropy after an epoch,"
            " the median of three small sets ([scale of loss terms](../measured/method-scale.md))."
        )
    rows = [score for score in on_record.scores() if score.method == name]
    if not rows:
        return [*parts, "No comparison with several seeds has this method on record yet."]
    frozen = [score for score in rows if score.page == "results.md"]
    if compared := [score for score in rows if score.page != "results.md"]:
        parts.append(_table(compared))
    if frozen:
        parts += ["### In the frozen benchmark", _table(frozen)]
    note = (
        '"vs alone" is macro-F1 in points against the student without a teacher, paired by seed; the place is among the'
        " rows of the same data and student. Rows that differ by less than their spread are not told apart: the pages"
        " have the intervals."
    )
    return [*parts, note]


def _table(scores: list[on_record.Score]) -> str:
    """Rows of comparisons, each with its mean and, of several runs, its standard deviation."""
    table = ["| data and student | row | macro-F1 | vs alone | place | runs | page |", "|---|---|---|---|---|---|---|"]
    for score in scores:
        place, of = on_record.rank(score)
        change = "" if score.change is None or score.row == "student" else f"{score.change:+.1f}"
        name_of_page = score.page.removeprefix("measured/").removesuffix(".md")
        mean = f"{score.mean:.3f} ± {score.sd:.3f}" if score.runs > 1 else f"{score.mean:.3f}"
        cells = [score.group, f"`{score.row}`", mean, change, f"{place} of {of}", str(score.runs)]
        cells.append(f"[{name_of_page}](../{score.page})")
        table.append(f"| {' | '.join(cells)} |")
    return "\n".join(table)


def overview() -> str:
    """All methods as a list with links, by status, for the page of methods."""
    parts = []
    for status, meaning in STATUSES.items():
        names = [name for name in METHODS if METHODS.get(name).status == status]
        parts.append(f"### {status}: {meaning}")
        rows = [f"| [{name}]({page_of(name)}) | {_first(name)} |" for name in names]
        parts.append("\n".join(["| method | |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def _first(name: str) -> str:
    return inspect.cleandoc(vars(METHODS.get(name))["__doc__"]).split("\n")[0]
