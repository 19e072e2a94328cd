"""What a unit is prepared with: views from the cache that were made with the same code, for student and teachers."""

from dataclasses import replace

import pytest

from mmkd.training.unit_windows import load_view, teacher_windows
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request


@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_a_view_of_an_edited_plugin_is_made_anew(sines, tmp_path, whose):
    """The source of a modality or a task is part of the entry; that of a network is not."""
    ((spec, data),) = expand(Request(methods=("kd",), data=str(sines), students=("sig",), teachers=("sig",)))
    workspace = Workspace(tmp_path)

    def entries(**sources):
        changed = replace(spec, sources={name.replace("_", " "): checksum for name, checksum in sources.items()})
        if whose == "student":
            load_view("sig", changed, data, workspace)
        else:
            teacher_windows(changed.teacher("sig"), data, workspace)
        return {path.name for path in (tmp_path / "cache" / "views").iterdir() if not path.name.startswith(".")}

    own = entries()
    assert len(own) == 1
    assert entries(backbone_small="12" * 32) == own
    with_source = entries(modality_sig="12" * 32)
    assert len(with_source) == 2
    assert len(entries(modality_sig="34" * 32)) == 3, "edited"
    assert len(entries(task_classification="12" * 32)) == 4
    assert entries(modality_sig="12" * 32) == entries()
