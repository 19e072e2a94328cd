"""The reference of the public names, each filled in from its docstring by mkdocstrings."""

import mmkd

GROUPS = {
    "Run and load": ("run", "load_student", "recompute_scores", "compare_records", "load_plugin"),
    "Data": ("Dataset", "RawDataset"),
    "scikit-learn": ("DistilledClassifier",),
    "To write a method": (
        "Method",
        "MethodConfig",
        "DistillConfig",
        "TaughtConfig",
        "LogitConfig",
        "GuidedConfig",
        "Outputs",
        "Batch",
        "Setup",
        "Step",
        "option",
        "Range",
    ),
    "Other things to write": ("Modality", "Augmentation", "Metric", "Task"),
}
"""The names by what they are for; those that stand in no group come last."""
REST = "More for methods and plugins"
PLAIN = {"MmkdError": "core.errors", "Options": "core.options", "option": "core.options", "Range": "core.ranges"}
PLAIN |= {"METHODS": "core.registry", "kind_of": "core.registry", "only_of_kind": "core.registry"}
"""Names that mmkd imports at once, and their modules."""


def module_of(name: str) -> str:
    """The module that has a public name of mmkd."""
    return f"mmkd.{PLAIN.get(name) or mmkd._MODULES[name]}"


def page() -> str:
    """The page, in which a line stands for the documentation of each name."""
    placed = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, REST: tuple(name for name in mmkd.__all__ if name not in placed)}
    about = "What there is to import, made from the docstrings. All names come from `mmkd`: `from mmkd import Method`."
    parts = ["# API reference", about]
    for title, names in groups.items():
        parts += [f"## {title}", *(f"::: {module_of(name)}.{name}" for name in names)]
    return "\n\n".join(parts) + "\n"
