"""Predictions in the format of tsml-eval 0.5's `write_classification_results`."""

import json

from mmkd.comparison.compare import Comparison
from mmkd.comparison.groups import Group
from mmkd.comparison.identity import flat
from mmkd.comparison.predictions import Predictions, read_predictions
from mmkd.comparison.rows import Row
from mmkd.comparison.units import Unit
from mmkd.core.keys import digest
from mmkd.core.refusal import Refusal
from mmkd.core.text import printable, slug


def tsml_files(comparison: Comparison, notes: list[str]) -> dict[str, str]:
    """Path -> content of each unit's predictions.

    Lines: data set, classifier, TEST, seed (of folds the number of seed and fold), unit of times, remark; parameters;
    accuracy, time to fit, and what we do not know as -1; then a line a test window: true class, predicted class,
    nothing, probabilities. Units where every step has a label have no such format and are left out, as are the means of
    teachers and their upper bound.

    Args:
        notes: gets a line for each unit whose file cannot be made, or each row that has no probabilities.
    """
    files: dict[str, str] = {}
    for group in comparison.groups:
        for row in group.rows:
            if row.kind in ("mean", "oracle") or not _has_format(group):
                continue
            for unit in row.members:
                predictions = read_predictions(unit.record) if unit.record else Refusal("no record")
                if isinstance(predictions, Refusal) or predictions.probabilities is None:
                    why = predictions.why if isinstance(predictions, Refusal) else "no probabilities"
                    whole = unit.record is None or unit.record.has_files
                    if not isinstance(predictions, Refusal):
                        notes.append(f"no tsml files of {row.prefix}{row.title}: {why}")
                    else:
                        notes.append(
                            f"no tsml file of {unit.key}: {why}" if whole else f"some units have no tsml files: {why}"
                        )
                    continue
                name = slug(_classifier(row, group))
                path = f"tsml/{name}/Predictions/{slug(group.dataset)}/testResample{_resample(unit, group)}.csv"
                files[path] = _file(name, group, row, unit, predictions)
    if not all(map(_has_format, comparison.groups)):
        notes.append("no tsml files where every time step has a label or a score: the format has one label a case")
    return files


def _has_format(group: Group) -> bool:
    """Whether a window has one class."""
    return group.task_object.per_window and group.task_object.has_predictions


def _resample(unit: Unit, group: Group) -> int:
    """The number that the format has for a seed, or for a seed and a fold."""
    return group.seeds.index(unit.seed) * len(group.folds) + unit.fold - 1 if group.folds else unit.seed


def _classifier(row: Row, group: Group) -> str:
    """The same on every data set, for tsml's own comparisons; a teacher has one name, whatever it taught."""
    if row.kind == "teacher":
        return f"teacher {row.name} {digest(flat(row.settings))[:8]}"
    kind = "control " if row.kind == "control" else ""
    return f"{kind}{row.name} {group.title.removeprefix(group.dataset).lstrip(', ')}"


def _file(classifier: str, group: Group, row: Row, unit: Unit, predictions: Predictions) -> str:
    assert predictions.probabilities is not None
    assert unit.record is not None
    parameters = json.dumps({"method": row.base, **flat(unit.record.result["spec"])}, sort_keys=True, default=str)
    milliseconds = round(1000 * unit.metrics["seconds"])
    classes = predictions.probabilities.shape[1]
    lines = [
        f"{_field(group.dataset)},{classifier},TEST,{_resample(unit, group)},MILLISECONDS,made by mmkd from record "
        f"{unit.key}",
        " ".join(parameters.split()),
        f"{unit.metrics['accuracy']},{milliseconds},-1,-1,-1,{classes},,-1,-1",
    ]
    arrays = (predictions.true, predictions.predicted, predictions.probabilities)
    pattern = "%d,%d,," + ",".join(["%.9g"] * classes)  # a third of the time that a format for each number takes
    for true, predicted, probabilities in zip(*(array.tolist() for array in arrays), strict=True):
        lines.append(pattern % (true, predicted, *probabilities))
    return "\n".join(lines) + "\n"


def _field(text: str) -> str:
    """A name in the first line, which has no quotes: without commas and line ends."""
    return printable(text.replace(",", ";"))
