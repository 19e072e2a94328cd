"""The output of `--list`, and the parts of the help about presets and methods."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from mmkd.tasks import DEFAULT_TASK, TASKS, Preset
from mmkd.units.methods import named_methods

WIDTH = 120
"""The longest line of a list; longer texts go on below, indented."""
LISTS = ("methods", "datasets", "modalities", "augmentations", "backbones", "dense", "fusions", "stage-fusions")
WHOLE_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
"""How lines are broken: never inside a flag."""
OptionRow = tuple[str, str, Any, str, str]
"""Of an option: its flag, type, default, line of help, and what `--tune` tries of it."""
_RULES = {"last": "last epoch on all training windows", "val-best": "best epoch on a validation split"}


def preset_help() -> str:
    """What each preset sets, for the help."""
    lines = []
    for task in sorted(TASKS.known(), key=lambda task: task.name != DEFAULT_TASK):
        lines.append("presets:" if task.name == DEFAULT_TASK else f"presets of --task {task.name}:")
        for name, preset in task.presets.items():
            lines += _preset_lines(name, preset)
    return "\n".join(lines)


def _preset_lines(name: str, p: Preset) -> list[str]:
    t = p.training
    low, high = p.epochs_range
    if p.passes:
        epochs = "{} to {} steps".format(*p.steps_range)
    elif low == high:
        epochs = f"{low} epochs"
    else:
        epochs = f"{p.teacher_steps} steps a teacher and {p.steps} the student, in {low} to {high} epochs"
    more = [_RULES[p.epoch_rule], *(f"{view} with {_flags(options)}" for view, options in p.views.items())]
    if p.augment:
        more.append(f"augmentations of the {'+'.join(p.augment)}, the student's in {p.augment_copies} copies")
    return [
        f"  {name:<8} images of side {p.image_size}, teachers {p.teacher_net('')}, student {p.student_net},",
        f"           {epochs}, batch {t.batch_size}, {t.optimizer} at {t.lr:g}, {t.schedule} schedule",
        *(f"           {line}" for line in more),
        *(f"           {method} with {_flags(options)}" for method, options in p.options.items()),
    ]


def show_list(what: str, as_json: bool, root: str | None) -> int:
    """Print the entries of a registry and files that could not be loaded; returns the exit code.

    Each name starts a line; what goes on below is indented. Methods stand below a line for each status.
    """
    rows, errors = list_entries(what, root)
    statuses = method_statuses() if what == "methods" else {}
    if as_json:
        entries = [
            {"name": n, **({"status": statuses[n]} if statuses else {}), "text": t, **_without_labels(what, n)}
            for n, t in rows
        ]
        print(json.dumps({what: entries, "broken": errors}, indent=1))
        return 0
    for status, meaning in status_titles(statuses.values()).items() if statuses else [("", "")]:
        below = [row for row in rows if statuses.get(row[0], "") == status]
        width = max((len(name) for name, _ in below), default=0)
        if status and below:
            print(f"{status} ({meaning}):")
        for name, text in below:
            print(_entry(name, text, width))
    if what == "methods":
        print(_unlabelled_help([name for name, _ in rows]))
    for source, reason in errors.items():
        print(f"broken: {source}: {reason}")
    return 0


def _entry(name: str, text: str, width: int) -> str:
    """An entry of a list: its name, padded to `width`, its text, and on a line of its own the flag that takes it."""
    about, flag, how = text.partition(" --")
    left = " " * (width + 2)
    lines = textwrap.wrap(f"{name:<{width}}  {about}", WIDTH, subsequent_indent=left, **WHOLE_WORDS)
    if flag:
        lines += textwrap.wrap(f"--{how}", WIDTH, initial_indent=left, subsequent_indent=left + "  ", **WHOLE_WORDS)
    return "\n".join(lines)


def _without_labels(what: str, name: str) -> dict[str, str]:
    """What a method does where few windows have a label, for `--json`; nothing of other things."""
    from mmkd.core.registry import METHODS

    return {"unlabelled": METHODS.get(name).unlabelled} if what == "methods" else {}


def _unlabelled_help(names: Sequence[str]) -> str:
    """Which of these methods does what where few windows have a label."""
    from mmkd.core.registry import METHODS
    from mmkd.methods.contract import UNLABELLED

    lines = ["with few labels (--labelled-subjects, --labelled-windows, --unlabelled):"]
    for kind, words in UNLABELLED.items():
        own = ", ".join(name for name in names if METHODS.get(name).unlabelled == kind)
        lines += textwrap.wrap(f"{words}: {own}", 118, initial_indent="  ", subsequent_indent="    ", **WHOLE_WORDS)
    return "\n".join(lines)


def list_entries(what: str, root: str | None) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Name and one-line text of every entry; and the files that could not be loaded, with the reason."""
    from mmkd.core.registry import METHODS, Registry

    if what == "datasets":
        from mmkd.data import find_cards
        from mmkd.data.load import is_available

        cards, errors = find_cards()
        available = {name: is_available(card, root) for name, card in cards.items()}
        return [
            (name, describe_dataset(card, bool(available[name])))
            for name, card in cards.items()
            if available[name] is not None
        ], errors
    if what == "stage-fusions":
        from mmkd.nets import STAGE_FUSIONS, described_options
        from mmkd.nets.stage_fusions import JOINS, OPERATORS

        rows = [("none", "The network's own form: the default.")]
        own = {**JOINS, **OPERATORS}  # in this order; the entries of the registry have no docstrings of their own
        rows += [(name, first_line(make)) for name, make in own.items()]
        rows += [(name, first_line(STAGE_FUSIONS.get(name))) for name in STAGE_FUSIONS if name not in own]
        options = {name: described_options(name, STAGE_FUSIONS.get(name)) for name in STAGE_FUSIONS}
        return [(name, text + options.get(name, "")) for name, text in rows], STAGE_FUSIONS.import_errors
    if what == "methods":
        registry: Registry[Any] = METHODS
    elif what == "modalities":
        from mmkd.views import MODALITIES as registry
    elif what == "augmentations":
        from mmkd.augment import AUGMENTATIONS as registry
    else:
        from mmkd.nets import BACKBONES, DENSE, FUSIONS, described_options

        networks: dict[str, Registry[Any]] = {"backbones": BACKBONES, "dense": DENSE, "fusions": FUSIONS}
        registry = networks[what]
        if what == "fusions":
            made = [(name, registry.get(name)) for name in registry]
            return [(name, first_line(f) + described_options(name, f)) for name, f in made], registry.import_errors
    more = {"modalities": _view_options, "augmentations": _amount}.get(what, describe_needs)
    return [
        (name, first_line(registry.get(name)) + more(registry.get(name))) for name in registry
    ], registry.import_errors


def method_statuses() -> dict[str, str]:
    """The status of every method."""
    from mmkd.core.registry import METHODS

    return {name: METHODS.get(name).status for name in METHODS}


def status_titles(found: Iterable[str]) -> dict[str, str]:
    """Every status and its meaning, in the order of the list; those that a plugin made up last."""
    from mmkd.methods.contract import STATUSES

    return {**STATUSES, **{status: "not known" for status in found if status not in STATUSES}}


def _view_options(entry: Any) -> str:
    """The options of a modality, for `--view`."""
    from mmkd.core.options import describe

    options = [f"{flag}={_default(default)} ({words})" for flag, words, default, _ in describe(entry.Config)]
    return f" --view {entry.name}.OPTION=VALUE: {', '.join(options)}" if options else ""


def _amount(entry: Any) -> str:
    """The number of an augmentation, for `--augment`."""
    most = "" if entry.highest == float("inf") else f", at most {entry.highest:g}"
    return f" --augment {entry.name}:{entry.unit}, such as {entry.example()}{most}"


def describe_dataset(card: Any, available: bool) -> str:
    """One line about a data set: its title, task and size, and whether its files are on this machine."""
    facts = [card.task]
    if card.reader != "archive":
        facts += [f"{len(card.classes)} classes"] if card.classes else []
        facts += [f"{card.subjects} subjects"] if card.subjects else []
        facts.append(f"{len(card.channels)} channel{'s' if len(card.channels) > 1 else ''}")
        facts += [f"{card.rate_hz:g} Hz"] if card.rate_hz else []
        facts += [f"windows of {card.signal['window']}"] if "window" in card.signal else []
        facts += [f"groups {' '.join(card.groups)}"] if card.groups else []
    return f"{card.title} ({', '.join(facts)})" + ("" if available else "  [not here]")


def describe_needs(thing: Any) -> str:
    """What a method needs beyond logits and embeddings of one teacher, as text for the end of its line."""
    needs: AbstractSet[str] = getattr(thing, "needs", frozenset())
    words = {"cam": "CAMs", "attention": "attention", "branches": "branches"}
    parts = [word for need, word in words.items() if need in needs]
    if "features" in needs and "cam" not in needs:
        parts.insert(0, "maps")
    if getattr(thing, "minimum_teachers", 1) > 1:
        parts.insert(0, f"{thing.minimum_teachers} teachers")
    return f" Needs {', '.join(parts)}." if parts else ""


def first_line(thing: Any) -> str:
    """The first line of the docstring of a class or function; empty if it only inherits one."""
    text = vars(thing).get("__doc__") if isinstance(thing, type) else getattr(thing, "__doc__", None)
    return (text or "").strip().split("\n")[0]


def method_help(names: Sequence[str], with_controls: bool = False) -> str:
    """The options of methods, with type, default and a line of help; options of all methods are listed once.

    Args:
        with_controls: whether the controls are among the methods too.
    """
    from mmkd.core.registry import METHODS

    methods = {name: METHODS.get(name) for name in named_methods(names, with_controls)}
    options = {name: _with_ranges(method.Config) for name, method in methods.items()}
    common = [row for row in next(iter(options.values())) if all(row in rows for rows in options.values())]
    lines = []
    for name, method in methods.items():
        own = options[name] if len(options) == 1 else [row for row in options[name] if row not in common]
        lines += ["", f"options of {name}: {first_line(method)}", *_format_options(own)]
    if len(options) > 1:
        lines += ["", f"options of each of {', '.join(methods)}:" if len(methods) < 9 else "options of each:"]
        lines += _format_options(common)
    return "\n".join(lines)


def _with_ranges(config: type) -> list[OptionRow]:
    """What `describe` says of options, and in which range `--tune` tries each; empty where it does not."""
    from mmkd.core.options import describe
    from mmkd.core.ranges import in_words, tuned_in

    tried = {name.replace("_", "-"): in_words(tune) for name, tune in tuned_in(config).items()}
    return [(*row, tried.get(row[0], "")) for row in describe(config)]


def _format_options(rows: Sequence[OptionRow]) -> list[str]:
    lines = []
    for flag, words, default, text, tried in rows:
        lines.append(f"  --{flag} {words}")
        facts = f"default {_default(default)}" + (f"; --tune tries {tried}" if tried else "")
        lines += textwrap.wrap(f"{text} ({facts})", 112, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return lines


def _default(value: Any) -> str:
    """A default as the command line writes it: `none`, `true`, and at most four digits of a number."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flags(options: Mapping[str, Any]) -> str:
    """Options as the command line writes them."""
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
