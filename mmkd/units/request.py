"""The request of a user, on the command line, in a suite file or from Python.

Each field of `Request` is declared once, with its type, range, help and flag. Flags, TOML keys, Python arguments and
their checks are derived from that declaration.
"""

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, Literal, get_type_hints

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.core.options import shown
from mmkd.core.plugins import load_plugin
from mmkd.core.text import LONGEST_PATH
from mmkd.specs.teacher_nets import target_folds
from mmkd.tasks import DEFAULT_TASK, TASKS
from mmkd.units.methods import check_words
from mmkd.units.setting import MOST, by_modality, setting
from mmkd.units.training_settings import TrainingSettings
from mmkd.units.tuning_settings import TuningSettings

OWN = "none"
"""The value of `--fusion` for a dense network without a fusion of its stages."""
MAX_SEEDS = 10_000
"""The largest number of seeds of one request."""
BY_TASK: tuple[str, ...] = ("as the task has it",)
"""The value of a field that the user did not set and whose default depends on the task."""
NUMBERS = (int | None, float | None, tuple[int, ...])
"""The types of fields that hold numbers."""


@dataclass(frozen=True)
class Request(TuningSettings, TrainingSettings):
    """The units that a user asks for. The fields are those of a suite file, and the flags of the same names; those of
    trainings are declared in `TrainingSettings`, those of tuning in `TuningSettings`.

    Each combination of the values of the lists is a unit. `options` maps a method to its options; if an option is a
    list, each value makes a unit. Each of `variants` adds a unit of its `method`, with the options in `options` and its
    own: this is for ablations, which change one option at a time.

    Raises:
        MmkdError: a value of the wrong type or out of range, or values that exclude each other.
    """

    methods: tuple[str, ...] = setting(
        (),
        "methods, or 'all' (without the controls), 'current' (those of 2021 or later), 'controls' (what methods are "
        "held against), each with student; --method NAME --help shows its options",
        flag="--method",
        metavar="NAME[,NAME]",
        group="what",
    )
    with_controls: bool = setting(
        False,
        "and the controls that fit: students that are taught nothing, or by something else than the teachers; is it "
        "the teacher? (false: without those that a suite has)",
        flag="--with-controls",
        group="what",
    )
    datasets: tuple[str, ...] = setting(
        BY_TASK,
        "data sets (default basic-motions, or hapt-dense)",
        flag="--dataset",
        metavar="NAME[,NAME]",
        group="what",
    )
    data: str | None = setting(
        None,
        "your own windows, images (.npz: x, y, ...; or .ts), or series (.npz: series, labels)",
        flag="--data",
        metavar="FILE",
        group="what",
    )
    card: str | None = setting(
        None,
        "the card.toml of a private data set, which may lie anywhere",
        flag="--card",
        metavar="FILE",
        group="what",
    )
    task: str = setting(
        DEFAULT_TASK,
        "classification (default), segmentation (a class a time step), or anomaly",
        flag="--task",
        metavar="TASK",
        group="what",
    )
    seeds: tuple[int, ...] = setting(
        (0,), "several, such as 0-4 or 0,3,7", flag="--seeds", metavar="LIST", group="what"
    )
    preset: str = setting(
        "quick",
        "quick (default), standard (for comparisons) or full, see below",
        flag="--preset",
        metavar="NAME",
        group="what",
    )
    students: tuple[str, ...] = setting(
        BY_TASK,
        "branches, such as sig+gaf+pi (default), sig@acc+gaf@gyro",
        flag="--student",
        metavar="MODALITIES",
        group="networks",
    )
    teachers: tuple[str, ...] = setting(
        BY_TASK,
        "such as sig,gaf,pi (default); of images img",
        flag="--teachers",
        metavar="MODALITIES",
        whole=True,
        group="networks",
    )
    teacher_nets: Mapping[str, str] = setting(
        {},
        "a backbone a modality, such as sig=InceptionTime; ensemble (3 of the usual ones; ensemble:N:NET), each "
        "trained; of sig minirocket or random-forest, whose logits teach",
        flag="--teacher-net",
        metavar="M=NET,...",
        group="networks",
    )
    teacher_checkpoints: Mapping[str, str] = setting(
        {},
        "your own weights (.safetensors), not trained here",
        flag="--teacher-checkpoint",
        metavar="M=FILE,...",
        group="networks",
    )
    teacher_targets: str = setting(
        "fitted",
        "logits of training windows: of the teachers fitted to them (fitted, the default), or out-of-fold[:K]: of K "
        "more teachers (default 5), each without a fold of subjects",
        flag="--teacher-targets",
        metavar="HOW",
        group="networks",
    )
    student_net: tuple[str, ...] = setting(
        (), "backbone of each branch of the student", flag="--student-net", metavar="NET[,NET]", group="networks"
    )
    student_rate: float | None = setting(
        None,
        "the student reads a slower sensor of this rate, the teachers that of the data",
        flag="--student-rate",
        metavar="HZ",
        gt=0,
        le=MOST,
        group="networks",
    )
    fusion: tuple[str, ...] = setting(
        (),
        "fusion of branches (default concat), or of the stages of a dense student; options: NAME:OPTION=VALUE:...",
        flag="--fusion",
        metavar="NAME[,NAME]",
        group="networks",
    )
    image_size: int | None = setting(
        None,
        "side of the images, at most the window length",
        flag="--image-size",
        metavar="S",
        ge=1,
        le=MOST,
        group="networks",
    )
    view: Mapping[str, Mapping[str, Any]] = setting(
        {},
        "options of views, such as gaf.range=train,pi.size=16 (--list modalities shows them)",
        flag="--view",
        metavar="M.OPTION=VALUE,...",
        group="networks",
    )
    train_subjects: int | None = setting(
        None,
        "number of training subjects (default all)",
        flag="--train-subjects",
        metavar="N",
        ge=1,
        le=MOST,
        group="data",
    )
    train_windows: int | None = setting(
        None,
        "without subjects: number of training windows of each class (default all)",
        flag="--train-windows",
        metavar="N",
        ge=1,
        le=MOST,
        group="data",
    )
    labelled_subjects: int | None = setting(
        None,
        "use the labels of N training subjects only, drawn by the seed (default all)",
        flag="--labelled-subjects",
        metavar="N",
        ge=1,
        le=MOST,
        group="data",
    )
    labelled_windows: int | None = setting(
        None,
        "without subjects: use N labels of each class only",
        flag="--labelled-windows",
        metavar="N",
        ge=1,
        le=MOST,
        group="data",
    )
    unlabelled: str | None = setting(
        None,
        "an .npz file with x (M, C, W): more training windows, without labels",
        flag="--unlabelled",
        metavar="FILE.npz",
        group="data",
    )
    split: str = setting(
        "card",
        "card (default), loso (each subject is left out once), or a file: of folds, or .csv with subject,part",
        flag="--split",
        metavar="HOW",
        group="data",
    )
    folds: int | None = setting(
        None,
        "K folds of subjects (without subjects of windows, stratified by class), each tested once",
        flag="--folds",
        metavar="K",
        ge=1,
        le=MOST,
        group="data",
    )
    fold: tuple[int, ...] = setting(
        (), "only these folds, such as 1-3, counted from 1", flag="--fold", metavar="LIST", group="data"
    )
    select: int | None = setting(
        None,
        "first, in K folds of the training windows: the gap of each teacher, and teacher-weights search",
        flag="--select",
        metavar="K",
        ge=2,
        le=MOST,
        group="data",
    )
    epoch_rule: Literal["val-best", "last"] | None = setting(
        None,
        "last, on all training windows, or val-best, on a validation split (default: by preset)",
        flag="--epoch-rule",
        metavar="RULE",
    )
    unequal: Literal["refuse", "pad", "truncate", "resample"] = setting(
        "refuse",
        "cases of unequal length in --data: refuse (default), pad (with their last value), truncate or resample",
        flag="--unequal",
        metavar="HOW",
        group="data",
    )
    nan: Literal["refuse", "impute", "drop"] = setting(
        "refuse", "missing values: refuse (default), impute or drop", flag="--nan", metavar="POLICY", group="data"
    )
    rate: float | None = setting(
        None,
        "resample windows to this rate (default: that of the data)",
        flag="--rate",
        metavar="HZ",
        gt=0,
        le=MOST,
        group="data",
    )
    peers: tuple[str, ...] = setting(
        (),
        "rows beside the networks, fitted on the same windows: all, none, random-forest (seconds; the default of "
        "quick), minirocket (half a minute, of 7,000 windows two; in other presets too)",
        flag="--peers",
        metavar="NAME[,NAME]",
        group="where",
    )
    strict: bool = setting(
        False,
        "refuse data of which something is suspicious, instead of a warning (false: warn, where a suite refuses)",
        flag="--strict",
        group="where",
    )
    records: tuple[str, ...] = setting(
        (),
        "records of other machines, .jsonl files or folders of them, that count as on record here; python -m "
        "mmkd.compare --write-records FILE makes one",
        flag="--records",
        metavar="FILE[,FILE]",
        group="where",
    )
    options: Mapping[str, Mapping[str, Any]] = setting({})
    variants: tuple[Mapping[str, Any], ...] = setting(())
    plugins: tuple[str, ...] = setting(
        (),
        "a Python file that registers methods, views, networks, tasks and the like",
        flag="--plugin",
        metavar="FILE.py",
        group="where",
    )
    data_root: str | None = setting(
        None,
        "data folder (default: MMKD_DATA, else the user's cache folder)",
        flag="--data-root",
        metavar="DIR",
        group="where",
    )
    name: str | None = setting(None)

    def __post_init__(self) -> None:
        self._check_numbers()
        object.__setattr__(self, "view", by_modality(self.view))
        super().__post_init__()
        self._fill_defaults()
        self._check_texts()
        self._check_split()
        self._check_seeds()
        if self.unlabelled == "":
            raise MmkdError("--unlabelled '': name an .npz file with an array x (M, C, W)")
        if self.labelled_subjects and self.labelled_windows:
            raise MmkdError("--labelled-subjects and --labelled-windows both choose the labels that are used; give one")
        if self.data is not None and self.card is not None:
            raise MmkdError("--data and --card both name windows; give one of them")
        if self.unequal != "refuse" and self.data is None:
            raise MmkdError(
                f"--unequal {self.unequal} goes with --data FILE; the windows of a data set have one length"
            )
        if any(name.endswith(".toml") for name in self.datasets):
            raise MmkdError(f"data set {shown(self.datasets[0])}: name the file of a card with --card")
        self.check_lengths()
        self.check_optimizers()
        self.check_tuning(self.teacher_checkpoints, self.teacher_targets)
        for variant in self.variants:
            if not isinstance(variant.get("method"), str):
                raise MmkdError(f"variants {shown(variant)}: give a table with a method and some of its options")
        check_words(self.methods)

    @property
    def own(self) -> str | None:
        """The user's own file, of windows or series or the card of a private data set."""
        return self.data if self.data is not None else self.card

    @property
    def asks_for_controls(self) -> bool:
        """Whether all controls are asked for, by a word or beside other methods."""
        return self.with_controls or "controls" in self.methods

    def _fill_defaults(self) -> None:
        """Fill in the defaults of the task; plugins are loaded first, because one may register the task."""
        for plugin in self.plugins:
            load_plugin(plugin)
        task = TASKS.get(self.task)
        if self.preset not in task.presets:
            raise unknown_name("preset", self.preset, task.presets)
        task.chosen_references(self.peers, self.preset)
        for name in ("datasets", "students", "teachers"):
            if getattr(self, name) == BY_TASK:
                object.__setattr__(self, name, getattr(task, name))

    def _check_numbers(self) -> None:
        """Refuse a number that is written as a text, such as `epochs = "3"`; flags are converted before."""
        hints = get_type_hints(type(self))
        for f in fields(self):
            value = getattr(self, f.name)
            items = value if isinstance(value, list | tuple) else (value,)
            if hints[f.name] in NUMBERS and any(isinstance(item, str) for item in items):
                raise MmkdError(f"{f.name.replace('_', '-')} = {shown(value)} is not a number")

    def _check_texts(self) -> None:
        for name in ("methods", "datasets", "seeds", "students", "teachers"):
            if not getattr(self, name):
                raise MmkdError(f"{name} is empty")
        for f in fields(self):
            value = getattr(self, f.name)
            texts = [text for text in (value if isinstance(value, tuple) else (value,)) if isinstance(text, str)]
            if isinstance(value, tuple) and "" in texts:
                raise MmkdError(f"{f.name} {shown(value)}: the items must be texts that are not empty")
            if any(len(text) > LONGEST_PATH for text in texts):
                raise MmkdError(f"{f.name} {shown(value)}: a text of more than {LONGEST_PATH} characters")
            if any("\0" in text for text in texts):
                raise MmkdError(f"{f.name} {shown(value)}: a name must not contain a zero byte")

    def _check_split(self) -> None:
        target_folds(self.teacher_targets)
        if not self.split:
            raise MmkdError(f"split {shown(self.split)}: write card, loso, or the name of a split file")
        if self.folds is not None and self.split != "card":
            raise MmkdError(f"--split {shown(self.split)} and --folds {self.folds} both make folds; give one of them")
        if self.fold and self.split == "card" and self.folds is None:
            raise MmkdError("--fold selects some of the folds; also give --folds K or --split loso")
        if any(number < 1 for number in self.fold):
            raise MmkdError(f"fold {shown(self.fold)}: folds are counted from 1")

    def _check_seeds(self) -> None:
        if min(self.seeds) < 0:
            raise MmkdError(f"seed {min(self.seeds)} is negative; a seed is a whole number of at least 0")


def request_fields() -> list["Field[Any]"]:
    """The fields of `Request` in the order of the help: its own, those of tuning, those of trainings."""
    order = [{f.name for f in fields(settings)} for settings in (TuningSettings, TrainingSettings)]
    return sorted(fields(Request), key=lambda f: [f.name in names for names in reversed(order)])


def parse_seeds(text: str, what: str = "seeds") -> tuple[int, ...]:
    """Seeds from a text such as "0-4" or "0,3,7", without repeats.

    Args:
        what: the name of the field, for the message of an error.

    Raises:
        MmkdError: the text is malformed, or there are too many seeds.

    >>> parse_seeds("0-2,7")
    (0, 1, 2, 7)
    """
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        ends = (low, high) if dash else (low, low)
        valid = all(end.isdecimal() and len(end) < 40 for end in ends)
        if not valid or int(ends[1]) < int(ends[0]):
            raise MmkdError(f"{what} {shown(text)}: write whole numbers and ranges, such as 0-4 or 0,3,7")
        if len(seeds) + int(ends[1]) - int(ends[0]) >= MAX_SEEDS:
            raise MmkdError(f"{what} {shown(text)}: more than {MAX_SEEDS:,}")
        seeds += range(int(ends[0]), int(ends[1]) + 1)
    return tuple(dict.fromkeys(seeds))
