"""Configurations that are frozen in files, and data sets that are tuned on but not reported on."""

import tomllib
from dataclasses import dataclass

import pytest

from mmkd import METHODS, DistillConfig, Method, MmkdError, Range, option
from mmkd.bench import main
from mmkd.core.progress import Progress
from mmkd.engines.execution import execute
from mmkd.engines.tuning import expand_with_tuning, plan_tuning
from mmkd.store.records import Records
from mmkd.training.workspace import Workspace
from mmkd.units.request import Request

FLAGS = ["--student=sig", "--teachers=sig", "--teacher-net=sig=small", "--epochs=1", "--image-size=16", "--quiet"]


class Soft(Method):
    """Soft targets, with ranges of their own."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        temperature: float = option(4.0, "temperature", gt=0, tune=Range(1, 16, log=True))
        form: str = option("plain", "a text", tune=("plain", 'with "quotes"'))
        side: int | None = option(None, "none, or a number")

    def losses(self, student, teachers, batch):
        soft = self.soft(student, teachers, self.config.temperature, "fused", batch)
        return {**self.supervised(student, batch), "soft": soft}


@pytest.fixture(autouse=True)
def _soft():
    METHODS.register("soft")(Soft)
    yield
    METHODS.unregister("soft")


def run(path, folder, **more):
    settings = {"methods": ("soft",), "data": str(path), "students": ("sig",), "teachers": ("sig",), "epochs": 1}
    settings |= {"image_size": 16, "teacher_nets": {"sig": "small"}}
    request = Request(**settings | more)
    workspace = Workspace.for_request(
        request, runs=folder / "runs", cache_folder=str(folder / "cache"), device="cpu", progress=Progress()
    )
    return execute(request, workspace)


def test_what_is_frozen_is_used_again(sines, tmp_path):
    frozen = tmp_path / "frozen"
    outcome = run(sines, tmp_path, tune=3, freeze=str(frozen))
    (choice,) = outcome.tunings
    values = tomllib.loads((frozen / "soft.toml").read_text())
    assert values["options"] == {**choice.options, "teacher_epoch": "last", "side": "none"} | values["options"]
    assert values["options"]["temperature"] == choice.options["temperature"]
    assert values["options"]["side"] == "none"
    assert (values["table"], values["number"], values["budget"]) == (choice.table, choice.number, 3)
    assert values["data"] == [{"name": "sines", "sha256": outcome.results[0].spec.data.sha256, "rate": 0.0}]
    assert (values["seed"], values["fold"], values["trainings"]) == (10_000, "1 of 3", 3)
    assert (values["score"], values["default_score"]) == (choice.score, choice.default_score)
    assert (len(values["scores"]), values["scores"][0]) == (3, choice.default_score)
    assert (values["scores"][choice.number], max(values["scores"])) == (choice.score, choice.score)
    assert {"version", "commit", "date", "student", "teachers", "metric", "seconds"} <= values.keys()
    tuned = [result.spec for result in outcome.results if result.spec.tuned]
    again = run(sines, tmp_path, tuned=str(frozen))
    assert [result.status for result in again.results] == ["cached", "cached"]  # the same units
    assert [result.spec.key for result in again.results if result.spec.tuned] == [spec.key for spec in tuned]
    assert again.tunings[0].file == str(frozen / "soft.toml")
    assert f"number {choice.number} of 3 tried on sines" in again.tunings[0].line


def test_a_table_for_other_options_is_not_mixed_in(sines, tmp_path, monkeypatch):
    frozen = tmp_path / "frozen"
    run(sines, tmp_path, tune=2, freeze=str(frozen))
    path = frozen / "soft.toml"
    message = r"it was made with soft --temperature 4.0, and here it is 2.0, .* --tune 2 --freeze"
    with pytest.raises(MmkdError, match=message):
        run(sines, tmp_path, tuned=str(frozen), options={"soft": {"temperature": 2.0}})
    text = path.read_text()
    number = tomllib.loads(text)["number"]
    path.write_text(text.replace(f"number = {number}", f"number = {1 - number}"))
    with pytest.raises(MmkdError, match=f"its options are not number {1 - number} of its table"):
        run(sines, tmp_path, tuned=str(frozen))
    path.write_text(text.replace("budget = 2", "budget = 'two'"))
    with pytest.raises(MmkdError, match=r"it has no usable 'budget'"):
        run(sines, tmp_path, tuned=str(frozen))
    for old, new, fact in (
        (f"number = {number}", "number = 999999999999", "number"),  # at once, not after so many configurations
        (f"number = {number}", "number = true", "number"),
        ("budget = 2", "budget = -2", "budget"),
        ('metric = "macro_f1"', 'metric = "nope"', "metric"),
        ("failed = []", "failed = 3", "failed"),
        ('data = [{ "name" = "sines"', 'data = [{ "nome" = "sines"', "data"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(MmkdError, match=f"it has no usable '{fact}'"):
            run(sines, tmp_path, tuned=str(frozen))
    path.write_text("method = ")
    with pytest.raises(MmkdError, match=r"soft.toml: not a TOML file"):
        run(sines, tmp_path, tuned=str(frozen))
    path.write_text(text)
    monkeypatch.setattr(Soft, "revision", 2)
    with pytest.raises(MmkdError, match=r"for other options or ranges of soft, or an older form of it"):
        run(sines, tmp_path, tuned=str(frozen))


def test_tuning_on_other_sets(sines, tmp_path):
    """On basic-motions; the file of sines is reported on, and in none of its folds is anything trained."""
    outcome = run(sines, tmp_path, tune=2, tune_on=("basic-motions",), freeze=str(tmp_path / "frozen"))
    (choice,) = outcome.tunings
    assert choice.on == ["basic-motions"]
    assert [(r.spec.data.name, bool(r.spec.tuned)) for r in outcome.results] == [("sines", False), ("sines", True)]
    inner = {r.spec.data.name for r in Records(tmp_path / "runs") if r.spec.data.inner_fold}
    assert inner == {"basic-motions"}
    assert outcome.results[1].spec.tuned["on"] == ["basic-motions"]
    assert outcome.results[1].spec.options == choice.options


@pytest.mark.parametrize(
    ("reported", "tuned_on", "message"),
    [
        ("basic-motions", "basic-motions", "--tune-on basic-motions: the request reports on both too"),
        ("gunpoint", "ucr-uea.GunPoint", "reports on gunpoint, which has the same recordings"),
    ],
)
def test_no_set_is_tuned_on_and_reported_on(reported, tuned_on, message, tmp_path):
    request = Request(methods=("soft",), datasets=(reported,), tune=2, tune_on=(tuned_on,))
    with pytest.raises(MmkdError, match=message):
        expand_with_tuning(request)


def test_a_file_holds_one_configuration(sines, tmp_path):
    settings = {"methods": ("soft",), "data": str(sines), "students": ("sig", "gaf"), "teachers": ("sig",)}
    request = Request(**settings, tune=2, freeze=str(tmp_path / "frozen"))
    with pytest.raises(MmkdError, match=r"a file holds one configuration, and soft gets one for each data set"):
        plan_tuning(request, *expand_with_tuning(request))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tune", "1"], "tune = 1 must be >= 2"),
        (["--tune", "many"], "--tune 'many' is not a whole number"),
        (["--tune-on", "natops"], "--tune-on names data sets to tune on; also give --tune N"),
        (["--freeze", "there"], "--freeze writes what --tune N chooses; also give --tune N"),
        (["--tune", "2", "--tuned"], "give one of the two"),
        (["--tuned", "nowhere"], "--tuned nowhere: there is no such folder; --tune N --freeze nowhere makes it"),
        (["--tuned", "."], "--tuned .: it has no file of soft; --tune N --freeze . makes them"),
        (["--tune", "2", "--freeze", "file"], "--freeze 'file': file is not a folder"),
        (["--tune", "2", "--existing", "only"], "2 of 2 trainings of the tuning phase are not on record (soft)"),
        (
            ["--tune", "2", "--teacher-checkpoint", "sig=file"],
            "which windows the teachers of --teacher-checkpoint have",
        ),
        (["--tune", "2", "--dataset", "nab", "--task", "anomaly"], "--task anomaly are scored by their anomalies"),
    ],
)
def test_bad_flags_are_one_line(sines, tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    own = [] if "--dataset" in flags else ["--data", str(sines)]
    assert main(["--method", "soft", *own, *FLAGS, *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.glob("runs/*/result.json"))
