"""The code of plugins is part of the keys of what is made with it, and of nothing else."""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest

import mmkd
from mmkd import MmkdError
from mmkd.comparison.compare import compare
from mmkd.core.plugins import load_plugin
from mmkd.data.cards import read_card
from mmkd.data.load import load_dataset
from mmkd.engines.plan import make_plan
from mmkd.engines.worker import perform
from mmkd.nets import BACKBONES
from mmkd.training.followers import join_training
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand, student_alone
from mmkd.units.request import Request
from mmkd.units.sources import check_loaded
from mmkd.units.splits import split_for
from mmkd.views.cached import view_key

PLUGINS = {
    "modality": """
import numpy as np
from mmkd import MODALITIES, Modality

@MODALITIES.register("halves")
class Halves(Modality):
    "Half the signal."
    name = "halves"

    def shape(self, channels, length):
        return channels, length

    def _transform_chunk(self, x, out):
        out[:] = x / 2
""",
    "backbone": """
import torch
from torch import nn
from mmkd import BACKBONES, Outputs

@BACKBONES.register("line")
class Line(nn.Module):
    "A linear layer."

    def __init__(self, shape, classes):
        super().__init__()
        self.embed = nn.LazyLinear(4)
        self.classify = nn.Linear(4, classes)
        self(torch.zeros(1, *shape))

    def forward(self, x):
        embedding = self.embed(x.flatten(1))
        return Outputs(self.classify(embedding), embedding)
""",
    "fusion": """
from torch import nn
from mmkd import FUSIONS, Outputs

@FUSIONS.register("first")
class First(nn.Module):
    "The first branch."

    def __init__(self, dry, classes):
        super().__init__()

    def forward(self, branches):
        first = next(iter(branches.values()))
        return Outputs(first.logits, first.embedding)
""",
    "task": """
from dataclasses import replace
from mmkd import TASKS
from mmkd.tasks.classification import CLASSIFICATION

class Same(type(CLASSIFICATION)):
    def accept(self, data):
        return data

TASKS.register("same")(Same(**{**vars(CLASSIFICATION), "name": "same"}))
""",
    "method": """
from mmkd import METHODS, Method

@METHODS.register("mine")
class Mine(Method):
    "The student alone."
    distils = False
    tasks = frozenset({"classification", "same"})

    def losses(self, student, teachers, batch):
        return self.supervised(student, batch)
""",
}


@pytest.fixture
def files(tmp_path):
    """Kind -> its plugin file."""
    paths = {kind: tmp_path / f"{kind}_of_mine.py" for kind in PLUGINS}
    for kind, path in paths.items():
        path.write_text(PLUGINS[kind], encoding="utf-8")
    return paths


@pytest.fixture
def spec(files, sines):
    """Makes the spec of a unit that uses every plugin, or of one with other values."""

    def make(**values):
        own = {
            "methods": ("kd",),
            "students": ("sig+halves",),
            "teachers": ("halves,gaf",),
            "teacher_nets": {"halves": "line"},
            "student_net": ("line",),
            "fusion": ("first",),
            "image_size": 16,
            "task": "same",
            "epochs": 1,
        }
        plugins = tuple(str(path) for path in files.values())
        return list(expand(Request(data=str(sines), plugins=plugins, **{**own, **values})))

    return make


def edit(path):
    path.write_text(path.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")


def keys(spec, data):
    """The keys of the unit, its teachers and its views."""
    split = split_for(data, spec.data, spec.seed)
    views = {
        f"view {name}": view_key(name, config, spec.data, split, spec.view_sources(name))
        for name, config in spec.views.items()
    }
    return {"unit": spec.key, **{f"teacher {name}": spec.teacher(name).key for name in spec.teachers}, **views}


CHANGES = {
    "modality": {"unit", "teacher halves", "view halves"},
    "backbone": {"unit", "teacher halves"},
    "fusion": {"unit"},
    "task": {"unit", "teacher halves", "teacher gaf", "view sig", "view halves", "view gaf"},
    "method": set(),  # the unit is of another method
}


@pytest.mark.parametrize("kind", CHANGES)
def test_an_edit_changes_the_keys_of_what_is_made_with_it(files, spec, kind):
    ((before, data),) = spec()
    first = keys(before, data)
    assert keys(spec()[0][0], data) == first
    edit(files[kind])
    ((after, _),) = spec()
    second = keys(after, data)
    assert {name for name in first if first[name] != second[name]} == CHANGES[kind]


def test_what_mmkd_has_itself_has_no_checksum(spec):
    own = {"students": ("sig",), "teachers": ("gaf",), "teacher_nets": {}, "student_net": ("small",), "fusion": ()}
    ((one, _),) = spec(**own, task="classification")
    assert one.sources == {}
    assert one.method_sha256 == ""
    ((mine, data),) = spec(**own, task="classification", methods=("mine",))
    assert mine.sources == {}
    assert len(mine.method_sha256) == 64
    assert mine.data == one.data
    del data


def test_the_student_alone_has_the_sources_of_the_student(spec):
    ((taught, _),) = spec(teacher_nets={"halves": "small"})
    assert set(student_alone(taught).sources) == {"task same", "modality halves", "backbone line", "fusion first"}
    ((other, _),) = spec(students=("sig",), student_net=("small",), fusion=())
    assert set(student_alone(other).sources) == {"task same"}
    assert {"backbone line", "modality halves"} <= set(other.sources)


def test_an_edited_file_is_run_again_and_the_key_is_of_what_was_run(files, sines):
    load_plugin(files["backbone"])
    first = BACKBONES.get("line")
    checksum = BACKBONES.source_sha256("line")
    edit(files["backbone"])
    assert BACKBONES.source_sha256("line") == checksum, "of the text that was run"
    load_plugin(files["backbone"])
    assert BACKBONES.get("line") is not first
    assert BACKBONES.source_sha256("line") != checksum


def test_a_worker_refuses_what_changed_since_the_command_began(spec):
    ((unit, _),) = spec()
    check_loaded(unit, "has changed")
    check_loaded(unit.teacher("halves"), "has changed")
    for entry, words in (("backbone line", "backbone 'line' has changed"), ("task same", "task 'same' has changed")):
        other = replace(unit, sources={**unit.sources, entry: "ef" * 32})
        with pytest.raises(MmkdError, match=words):
            check_loaded(other, "has changed")
        with pytest.raises(MmkdError, match=words):
            check_loaded(other.teacher("halves"), "has changed")
    with pytest.raises(MmkdError, match="method 'kd' has changed"):
        check_loaded(replace(unit, method_sha256="ef" * 32), "has changed")
    with pytest.raises(MmkdError, match="fusion 'first' has changed"):
        check_loaded(
            replace(unit, sources={k: v for k, v in unit.sources.items() if k != "fusion first"}), "has changed"
        )


@pytest.mark.parametrize("kind", ["backbone", "modality", "fusion", "task"])
def test_an_edit_during_a_command_is_refused_by_its_workers_and_followers(files, spec, tmp_path, sines, kind):
    ((unit, _),) = spec()
    workspace = Workspace(tmp_path / "runs", data=str(sines), plugins=unit.plugins)
    edit(files[kind])
    jobs = make_plan([(unit, spec()[0][1])], workspace.records, workspace.cache)
    values = {**jobs[-1].values(), "spec": asdict(unit), "key": unit.key}
    result = perform(values, workspace.to_json())
    assert result["status"] == "failed"
    assert "has changed since the command began; start it again" in result["error"]
    message = {"kind": "student", "key": unit.key, "spec": asdict(unit), "shares": None}
    with pytest.raises(MmkdError, match="has another version here than in the process that leads"):
        join_training(message, workspace)


READER = """
import numpy as np
from mmkd import READERS, RawDataset

@READERS.register("lines")
def read(card, folder):
    values = np.loadtxt(folder / "lines.txt", dtype=np.float32)
    return RawDataset(values[:, None, 1:], values[:, 0].astype(int), None, np.arange(len(values)) % 3 == 0)
"""
CARD = """
title = "Lines"
task = "classification"
reader = "lines"
classes = ["up", "down"]
split = "every third line"

[signal]
channels = ["value"]

[source]
sha256 = { "lines.txt" = "" }
"""


def test_the_reader_of_a_plugin_is_part_of_the_checksum_of_the_data(tmp_path, monkeypatch):
    folder = tmp_path / "cards" / "lines"
    folder.mkdir(parents=True)
    (folder / "card.toml").write_text(CARD, encoding="utf-8")
    rng = np.random.default_rng(0)
    np.savetxt(tmp_path / "lines.txt", np.column_stack([np.arange(24) % 2, rng.normal(size=(24, 16))]))
    monkeypatch.setattr("mmkd.data.cards.cards_folder", lambda: tmp_path / "cards")
    assert read_card(folder / "card.toml").reader == "lines"
    with pytest.raises(MmkdError, match="unknown reader 'lines'"):
        load_dataset("lines", tmp_path)
    path = tmp_path / "my_reader.py"
    path.write_text(READER, encoding="utf-8")
    load_plugin(path)
    data = load_dataset("lines", tmp_path)
    assert data.x.shape == (24, 1, 16)
    edit(path)
    assert load_dataset("lines", tmp_path).sha256 == data.sha256
    load_plugin(path)
    assert load_dataset("lines", tmp_path).sha256 != data.sha256
    path.write_text(re.sub("return RawDataset.*", "return values", READER), encoding="utf-8")
    load_plugin(path)
    with pytest.raises(MmkdError, match="reader 'lines' returned ndarray; return a RawDataset"):
        load_dataset("lines", tmp_path)


def test_a_student_is_loaded_with_its_plugins_or_says_which_it_lacks(files, tmp_path, sines, shared_cache):
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGINS["backbone"] + PLUGINS["modality"], encoding="utf-8")
    runs = tmp_path / "runs"
    settings = {"data": sines, "epochs": 1, "cache": shared_cache, "runs": runs, "student": "halves"}
    record = mmkd.run("student", student_net=("line",), plugin=plugin, **settings)
    assert record.unit.plugins == (str(plugin),)
    windows = np.load(sines)["x"]
    expected = mmkd.load_student(record).predict(windows)
    forget("mine")
    np.testing.assert_array_equal(mmkd.load_student(record.folder).predict(windows), expected)
    edit(plugin)
    np.testing.assert_array_equal(mmkd.load_student(record).predict(windows), expected)  # of the text that was run
    forget("mine")
    with pytest.raises(MmkdError, match="modality 'halves' of this record has changed: .*mine.py is not") as error:
        mmkd.load_student(record)
    assert "\n" not in str(error.value)
    forget("mine")
    moved = plugin.rename(tmp_path / "moved.py")
    with pytest.raises(MmkdError, match="modality 'halves' of this record is missing: its file .*mine.py is not there"):
        mmkd.load_student(record)
    moved.write_text(PLUGINS["backbone"] + PLUGINS["modality"], encoding="utf-8")
    np.testing.assert_array_equal(mmkd.load_student(record, plugin=moved).predict(windows), expected)
    again = mmkd.run("student", student_net=("line",), plugin=moved, **settings)
    assert again.key == record.key, "the file may move"
    edit(moved)
    other = mmkd.run("student", student_net=("line",), plugin=moved, **settings)
    assert other.key != record.key, "an edited backbone does not answer with old numbers"
    groups = compare([record, other]).groups
    assert [len(group.rows) for group in groups] == [1, 1], "units of two texts are never in one row"
    assert sum("source.backbone line=" in group.title for group in groups) == 1, "the other is the usual one"


def forget(stem):
    """As in a new process: the plugin is not loaded."""
    import sys

    from mmkd.core.registry import REGISTRIES

    name = f"mmkd_plugin_{stem}"
    del sys.modules[name]
    for registry in REGISTRIES:
        for entry in registry.names_by(name):
            registry.unregister(entry)
