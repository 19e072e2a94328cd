"""Suites of several parts."""

import json
from dataclasses import replace

import pytest

from mmkd.bench import main
from mmkd.cli.flags import make_parser, make_requests
from mmkd.core.errors import MmkdError
from mmkd.units.request import Request
from mmkd.units.suites import read_suite, read_suites

TEXT = """
methods = ["student", "kd"]
seeds = "0-1"
datasets = ["coffee"]
students = "sig"
teachers = "sig"
[options.kd]
temperature = 2.0

[[parts]]
name = "first"

[[parts]]
name = "few labels"
datasets = ["gunpoint"]
labelled-windows = 3
seeds = [5]
"""


@pytest.fixture
def suite(tmp_path):
    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return write


def test_a_part_is_the_file_with_its_own_keys(suite):
    first, few = read_suites(suite(TEXT))
    options = {"kd": {"temperature": 2.0}}
    assert first == Request(
        methods=("student", "kd"),
        seeds=(0, 1),
        datasets=("coffee",),
        students=("sig",),
        teachers=("sig",),
        options=options,
        name="mine first",
    )
    assert few == replace(first, datasets=("gunpoint",), labelled_windows=3, seeds=(5,), name="mine few labels")


def options_of(path, *flags):
    parser = make_parser()
    args, rest = parser.parse_known_args(["--suite", str(path), *flags])
    return [request.options for request in make_requests(args, rest, parser)]


def test_options_of_methods_that_flags_name_replace_those_of_the_same_name(suite):
    path = suite(TEXT.replace("temperature = 2.0", "temperature = 2.0\nkd-weight = 0.4"))
    assert options_of(path, "--method", "kd") == [{"kd": {"temperature": 2.0, "kd-weight": 0.4}}] * 2
    own = {"kd": {"temperature": "3", "kd-weight": 0.4}}
    spelled = suite(path.read_text().replace("kd-weight", "kd_weight"))
    assert options_of(spelled, "--method", "kd", "--kd-weight", "0.5")[0] == {
        "kd": {"temperature": 2.0, "kd-weight": "0.5"}
    }
    path = suite(path.read_text().replace("kd_weight", "kd-weight"))
    assert options_of(path, "--method", "kd", "--temperature", "3") == [own, own]
    assert options_of(path, "--method", "kd,at", "--kd.temperature", "3", "--part", "first") == [own]
    own |= {"at": {"weight": "7"}}
    own["kd"]["temperature"] = 2.0
    assert options_of(path, "--method", "kd,at", "--weight", "7", "--part", "first") == [own]
    with pytest.raises(MmkdError, match="--weight is an option of .*at, .*, not of kd"):
        options_of(path, "--method", "kd", "--weight", "7")
    with pytest.raises(
        MmkdError, match="unknown option --temperature.*; of a suite, options of methods go with --method"
    ):
        options_of(path, "--temperature", "7")


def test_a_suite_keeps_what_belongs_to_the_methods_that_a_flag_names(suite, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from dataclasses import dataclass\n"
        "from mmkd import METHODS, Method, MethodConfig\n"
        "@METHODS.register('of-a-suite')\n"
        "class Mine(Method):\n"
        "    @dataclass(frozen=True)\n"
        "    class Config(MethodConfig):\n"
        "        own_weight: float = 1.0\n"
    )
    path = suite(
        f'plugins = ["{plugin}"]\nwith-controls = true\n{TEXT}\n'
        '[[variants]]\nmethod = "kd"\ntemperature = 9.0\n[[variants]]\nmethod = "at"\nweight = 9.0\n'
    )
    assert read_suites(path, ["first"], methods="kd")[0].options == {"kd": {"temperature": 2.0}}
    (first,) = read_suites(path, ["first"], methods=("at",), with_controls=False)
    assert (first.options, first.variants) == ({}, ({"method": "at", "weight": 9.0},))
    found = options_of(path, "--method", "of-a-suite", "--own-weight", "3", "--longer.count", "2")
    assert found == [{"of-a-suite": {"own-weight": "3"}, "longer": {"count": "2"}}] * 2


def test_options_go_to_the_parts_that_have_the_method(suite):
    path = suite(TEXT.replace('name = "first"', 'name = "first"\nwith-controls = true'))
    first, few = options_of(path, "--method", "kd", "--longer.count", "2")
    assert first.keys() - few.keys() == {"longer"}


def test_files_of_records_that_a_suite_names_are_beside_it(suite):
    path = suite('records = ["gone"]' + TEXT)
    with pytest.raises(MmkdError, match=r"part first: records .*gone: there is no such file; .* relative to the suite"):
        read_suites(path)
    assert read_suites(path, records=())
    with pytest.raises(MmkdError, match="there is no such file"):
        read_suites(suite(f'records = ["{"a" * 300}"]' + TEXT))


def test_parts_are_chosen_by_name_and_changed_by_flags(suite):
    path = suite(TEXT)
    (few,) = read_suites(path, ["few labels"], seeds=(9,))
    assert (few.name, few.seeds, few.datasets) == ("mine few labels", (9,), ("gunpoint",))
    assert read_suite(path, parts=("first",)).name == "mine first"


def test_a_part_names_windows_in_another_way_than_the_file(suite):
    text = TEXT.replace('datasets = ["gunpoint"]\n', 'data = "mine.npz"\n')
    assert [(request.datasets, request.data) for request in read_suites(suite(text))][1][1] == "mine.npz"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEXT.replace('name = "first"', ""), "part 1: give it a name"),
        (TEXT.replace('"few labels"', '"first"'), "two parts are called 'first'"),
        (TEXT.replace('"few labels"', '"a,b"'), "part 2: give it a name, a text without commas"),
        (TEXT.replace('"few labels"', '" first"'), "part 2: give it a name, .* or outer spaces"),  # --part strips them
        (TEXT.replace('"few labels"', '"few\\nlabels"'), "part 2: give it a name, .* of one line"),
        (
            TEXT.replace("labelled-windows", "labeled-windows"),
            "part few labels: unknown key 'labeled-windows'; did you",
        ),
        (TEXT.replace("labelled-windows = 3", "labelled-windows = 0"), "part few labels: labelled-windows = 0 must be"),
        ('methods = ["kd"]\nparts = 3', "write \\[\\[parts\\]\\]"),
        ('methods = ["kd"]\nparts = []', "write \\[\\[parts\\]\\]"),
        (TEXT.replace('methods = ["student", "kd"]', ""), "part first: the key 'methods' is missing"),
    ],
)
def test_parts_that_are_wrong(suite, text, words):
    with pytest.raises(MmkdError, match=words) as error:
        read_suites(suite(text))
    assert "mine.toml" in str(error.value)


def test_parts_that_are_not_there(suite):
    with pytest.raises(MmkdError, match="no such part; did you mean 'first'\\? .its parts: first, few labels"):
        read_suites(suite(TEXT), ["frist"])
    with pytest.raises(MmkdError, match="has no parts"):
        read_suites(suite('methods = ["kd"]'), ["first"])
    with pytest.raises(MmkdError, match="it has 2 parts: mine first, mine few labels"):
        read_suite(suite(TEXT))


SMALL = """
methods = ["student"]
datasets = ["basic-motions"]
students = "sig"
epochs = 1
peers = "none"

[[parts]]
name = "one"

[[parts]]
name = "two"
labelled_windows = 4
"""


def test_the_command_runs_every_part(suite, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = str(suite(SMALL))
    assert main(["--suite", path, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert out.index("== mine one") < out.index("== mine two")
    assert main(["--suite", path, "--json", "--existing", "only"]) == 0
    units = json.loads(capsys.readouterr().out)
    assert [(unit["part"], unit["status"]) for unit in units] == [("mine one", "cached"), ("mine two", "cached")]
    assert main(["--suite", path, "--json", "--dry-run", "--part", "two"]) == 0
    assert [unit["on_record"] for unit in json.loads(capsys.readouterr().out)["units"]] == [True]


def test_an_error_of_a_later_part_comes_before_anything_is_trained(suite, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = str(suite(SMALL.replace("labelled_windows = 4", 'methods = ["kd"]\nteachers = "nothing"')))
    assert main(["--suite", path, "--quiet"]) == 2
    assert "nothing" in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("*/result.json"))


def test_part_without_a_suite(capsys):
    assert main(["--method", "student", "--part", "one"]) == 2
    assert "--part one: parts are of a suite" in capsys.readouterr().err.replace("'", "")


def test_parts_do_not_overwrite_the_frozen_files_of_each_other(suite, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = str(
        suite(
            SMALL.replace('["student"]', '["kd"]').replace(
                'peers = "none"', 'peers = "none"\ntune = 2\nfreeze = "kept"'
            )
        )
    )
    assert main(["--suite", path, "--quiet"]) == 2
    assert "choose one with --part" in capsys.readouterr().err
    assert not list(tmp_path.glob("kept*")) + list(tmp_path.glob("runs/*"))


def test_the_tuned_options_of_a_suite_lie_beside_it_unless_a_flag_or_the_carried_ones_are_named(suite):
    path = suite('methods = ["kd"]\ntuned = "chosen/here"\n')
    assert read_suite(path).tuned == str(path.parent / "chosen" / "here")
    assert read_suite(path, tuned="elsewhere").tuned == "elsewhere"
    assert read_suite(suite('methods = ["kd"]\ntuned = "experiments/tuned"\n')).tuned == "experiments/tuned"
