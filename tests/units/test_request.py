"""Requests: from flags, suite files and Python to units, with every default filled in."""

import itertools
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from mmkd import METHODS, MmkdError
from mmkd.core.options import recorded
from mmkd.engines.execution import execute
from mmkd.tasks import TASKS
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand, student_alone
from mmkd.units.request import Request, parse_seeds
from mmkd.units.suites import read_suite

FAST = {"datasets": ("gunpoint",), "students": ("sig",), "teachers": ("sig",)}


def units(**values):
    return list(expand(Request(**{"methods": ("student",), **FAST, **values})))


def specs(**values):
    return [spec for spec, _ in units(**values)]


@pytest.fixture
def suite(tmp_path):
    def write(text, name="mine.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def own(tmp_path):
    """A file with 24 windows of 2 channels and `window` samples."""

    def write(window=20):
        x = np.random.default_rng(0).normal(size=(24, 2, window))
        np.savez(tmp_path / "own.npz", x=x, y=np.arange(24) % 2)
        return str(tmp_path / "own.npz")

    return write


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0", (0,)),
        ("0-4", (0, 1, 2, 3, 4)),
        ("0,3,7", (0, 3, 7)),
        ("0-2,7", (0, 1, 2, 7)),
        ("7, 1-2", (7, 1, 2)),
        ("1,0-2,1", (1, 0, 2)),
        ("5-5", (5,)),
    ],
)
def test_parse_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "4-0", "1.5", "0,,1", "0;1", "1-2-3", "0-a"])
def test_seeds_that_are_none(text):
    with pytest.raises(MmkdError, match="write whole numbers and ranges, such as 0-4"):
        parse_seeds(text)


# -- the request itself


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("preset", "quik", "unknown preset 'quik'; did you mean 'quick'"),
        ("task", "classificaton", "unknown task 'classificaton'; did you mean 'classification'"),
        ("nan", "imput", "nan = 'imput' is not one of refuse, impute, drop; did you mean 'impute'"),
        ("epoch_rule", "best", "epoch-rule = 'best' is not one of val-best, last; did you mean 'val-best'"),
        ("precision", "fp16", "precision = 'fp16' is not one of fp32, bf16"),
        ("epochs", 0, "epochs = 0 must be >= 1"),
        ("epochs", 2.5, "epochs = 2.5 is not a whole number"),
        ("epochs", True, "epochs = True is not a number"),
        ("image_size", -3, "image-size = -3 must be >= 1"),
        ("image_size", "32px", "image-size = '32px' is not a number"),
        ("train_subjects", 2_000_000, "train-subjects = 2000000 must be <= 1e"),
        ("methods", (), "methods is empty"),
        ("datasets", (), "datasets is empty"),
        ("seeds", (), "seeds is empty"),
        ("students", (), "students is empty"),
        ("teachers", (), "teachers is empty"),
    ],
)
def test_a_request_that_means_nothing(name, value, message):
    with pytest.raises(MmkdError, match=message):
        Request(**{"methods": ("kd",), name: value})


def test_the_text_none_is_a_name():
    """`--data none` is a file that is not there, not the default."""
    assert Request(("kd",), data="none").data == "none"
    assert Request(("kd",), data_root="None").data_root == "None"
    for name in ("epochs", "rate"):
        with pytest.raises(MmkdError, match="none.* is not a number"):
            Request(("kd",), **{name: "none"})


def test_whole_numbers_have_one_form():
    request = Request(("kd",), seeds=(1.0, 2), folds=3, fold=range(1, 3), epochs=3.0)
    assert [type(value) for value in (*request.seeds, *request.fold, request.epochs)] == [int] * 5
    assert (request.seeds, request.fold) == ((1, 2), (1, 2))


# -- suite files


def test_suite_gives_every_field(suite):
    path = suite(
        """
        methods = ["kd", "aver"]
        datasets = ["gunpoint"]
        seeds = [0, 2]
        students = ["sig", "sig+gaf"]
        teachers = ["sig,gaf"]
        student-net = "small"
        fusion = "attention"
        preset = "full"
        epochs = 3
        image_size = 16
        nan = "drop"
        epoch-rule = "last"
        precision = "bf16"
        data_root = "somewhere"
        [teacher_nets]
        sig = "WRN16-1"
        [options.kd]
        temperature = [1.0, 4.0]
        """
    )
    assert read_suite(path) == Request(
        methods=("kd", "aver"),
        datasets=("gunpoint",),
        seeds=(0, 2),
        students=("sig", "sig+gaf"),
        teachers=("sig,gaf",),
        student_net="small",
        fusion="attention",
        preset="full",
        epochs=3,
        image_size=16,
        nan="drop",
        epoch_rule="last",
        precision="bf16",
        data_root="somewhere",
        teacher_nets={"sig": "WRN16-1"},
        options={"kd": {"temperature": [1.0, 4.0]}},
        name="mine",
    )


def test_single_value_stands_for_a_list(suite):
    one = read_suite(suite('methods = "kd"\ndatasets = "coffee"\nseeds = 3\nstudents = "sig"\nteachers = "gaf"'))
    many = read_suite(
        suite('methods = ["kd"]\ndatasets = ["coffee"]\nseeds = [3]\nstudents = ["sig"]\nteachers = ["gaf"]')
    )
    assert one == many
    assert read_suite(suite('methods = "kd"\nseeds = "0-2,5"')).seeds == (0, 1, 2, 5)


def test_flags_take_the_place_of_fields(suite):
    path = suite('methods = ["kd"]\ndatasets = ["coffee"]\nepochs = 3')
    changed = read_suite(path, methods=("aver",), epochs=5, seeds=(1,))
    assert changed == replace(read_suite(path), methods=("aver",), epochs=5, seeds=(1,))
    assert changed.datasets == ("coffee",)
    assert read_suite(suite("epochs = 2"), methods=("kd",)).methods == ("kd",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('method = ["kd"]', "unknown key 'method'; did you mean 'methods'"),
        ('methods = ["kd"]\nepoch_rul = "last"', "unknown key 'epoch_rul'; did you mean 'epoch_rule'"),
        ('methods = ["kd"]\n[optoins.kd]\nt = 1', "unknown key 'optoins'; did you mean 'options'"),
        ("epochs = 3", "the key 'methods' is missing"),
        ("methods = 3", "methods = 3 is not a text"),
        ('methods = ["kd", 3]', "methods = 3 is not a text"),
        ('methods = ["kd"]\nseeds = [0.5]', "seeds = 0.5 is not a whole number"),
        ('methods = ["kd"]\nseeds = [true]', "seeds = True is not a number"),
        ('methods = ["kd"]\nseeds = "zero"', "seeds 'zero'"),
        ('methods = ["kd"]\noptions = "fast"', "options = 'fast' is not a mapping"),
        ('methods = ["kd"]\n[options]\nkd = 3', "options.kd = 3 is not a mapping"),
        ('methods = ["kd"]\nteacher_nets = "WRN16-1"', "teacher-nets = 'WRN16-1' is not a mapping"),
        ('methods = ["kd"]\n[teacher_nets]\nsig = 3', "teacher-nets.sig = 3 is not a text"),
        ('methods = ["kd"]\nstudent_net = 3', "student-net = 3 is not a text"),
        ('methods = ["kd"]\npreset = ["quick"]', "preset = \\['quick'\\] is not a text"),
        ('methods = ["kd"]\nepochs = "many"', "epochs = 'many' is not a number"),
        ("methods = [", "not a TOML file"),
        ('methods = ["kd"]\nmethods = ["aver"]', "not a TOML file"),
    ],
)
def test_suite_files_that_are_wrong(suite, text, message):
    with pytest.raises(MmkdError, match=message) as error:
        read_suite(suite(text))
    if "TOML" in message or "key" in message or " is not a" in message:
        assert "mine.toml" in str(error.value)


def test_suite_file_that_is_not_there(tmp_path):
    with pytest.raises(MmkdError, match=r"--suite .*absent\.toml: No such file"):
        read_suite(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b'methods = ["\xe9"]')
    with pytest.raises(MmkdError, match="not a TOML file"):
        read_suite(tmp_path / "latin.toml")


# -- units


def test_defaults_are_filled_in():
    (spec,) = specs(methods=("kd",))
    assert spec.options == recorded(METHODS.get("kd").Config())
    assert spec.teachers == {"sig": "WRN16-1"}
    assert spec.student == ("sig",)
    assert spec.student_net == "small"
    assert spec.fusion is None
    assert set(spec.views) == {"sig"}
    assert (spec.data.epoch_rule, spec.data.validation) == ("last", 0.0)
    assert spec.training.epochs >= 8


def test_the_epoch_rule_is_that_of_the_preset_unless_it_is_given():
    rules = {"quick": "last", "standard": "last", "full": "val-best"}
    for preset, rule in rules.items():
        (spec,) = specs(methods=("kd",), preset=preset)
        assert (spec.data.epoch_rule, spec.data.validation) == (rule, 0.2 * (rule == "val-best"))
        for own in ("last", "val-best"):
            assert specs(methods=("kd",), preset=preset, epoch_rule=own)[0].data.epoch_rule == own


def test_the_preset_standard_has_views_and_steps_of_its_own():
    given = {"students": ("sig+gaf",), "preset": "standard"}
    (spec,) = specs(methods=("kd",), **given)
    assert spec.views["gaf"]["range"] == "train"
    assert spec.given_views == ()
    assert spec.training.steps == spec.teacher_training.steps == 1200
    assert (spec.student_net, spec.teachers["sig"]) == ("tiny", "WRN16-1-window")
    (other,) = specs(methods=("kd",), view={"gaf": {"range": "window"}}, **given)
    assert other.views["gaf"]["range"] == "window"
    assert other.given_views == ("gaf.range",)


def test_epochs_mean_teachers_and_student():
    (spec,) = specs(methods=("kd",), epochs=3)
    assert spec.training.epochs == spec.teacher_training.epochs == 3


def test_teachers_may_have_epochs_of_their_own():
    (spec,) = specs(methods=("kd",), epochs=3, teacher_epochs=5)
    assert (spec.training.epochs, spec.teacher_training.epochs) == (3, 5)
    (spec,) = specs(methods=("kd",), teacher_epochs=5)
    assert spec.training == specs(methods=("kd",))[0].training
    assert spec.teacher_training.epochs == 5


def test_multi_branch_student_has_a_fusion():
    (spec,) = specs(students=("sig+gaf",))
    assert spec.student == ("sig", "gaf")
    assert spec.fusion == "concat"
    assert specs(students=("sig+gaf",), fusion="attention")[0].fusion == "attention"


def test_views_are_those_of_student_and_teachers():
    (spec,) = specs(methods=("kd",), students=("sig",), teachers=("gaf,pi",))
    assert set(spec.views) == {"sig", "gaf", "pi"}
    assert set(spec.teachers) == {"gaf", "pi"}


def test_student_alone_has_no_teachers_whatever_is_asked():
    (spec,) = specs(teachers=("sig", "sig,gaf"))  # two lists of teachers, one unit
    assert spec.teachers == {}
    assert spec.teacher_training is None
    assert set(spec.views) == {"sig"}


def test_everything_multiplies_in_order():
    found = units(
        methods=("student", "kd"),
        datasets=("gunpoint", "coffee"),
        seeds=(1, 0),
        students=("sig", "gaf"),
        teachers=("sig",),
    )
    where = [(s.data.name, s.seed, s.student_name, s.method) for s, _ in found]
    assert where == list(itertools.product(("gunpoint", "coffee"), (1, 0), ("sig", "gaf"), ("student", "kd")))
    assert all(spec.data.name == data.name and spec.data.sha256 == data.sha256 for spec, data in found)
    assert len({spec.key for spec, _ in found}) == len(found)


def test_lists_of_options_multiply():
    found = specs(
        methods=("student", "kd"),
        options={"kd": {"temperature": [1, 2.0, "4"], "kd-weight": [0.5, 0.9], "pairs": "same"}},
    )
    options = [
        (s.options["temperature"], s.options["kd_weight"], s.options["pairs"]) for s in found if s.method == "kd"
    ]
    assert options == list(itertools.product((1.0, 2.0, 4.0), (0.5, 0.9), ("same",)))
    assert sum(s.method == "student" for s in found) == 1


def test_text_and_number_give_one_key():
    keys = {specs(methods=("kd",), options={"kd": {"temperature": t}})[0].key for t in ("4", "4.0", 4, 4.0)}
    assert keys == {specs(methods=("kd",))[0].key}


def test_repeats_are_dropped():
    found = specs(
        methods=("kd", "kd"), seeds=(0, 0), datasets=("gunpoint", "gunpoint"), options={"kd": {"temperature": [4, 4.0]}}
    )
    assert len(found) == 1


def test_all_methods():
    named = [name for name in METHODS if name == "student" or METHODS.get(name).status != "control"]
    assert [s.method for s in specs(methods=("all",))] == named


def test_options_of_views_are_those_of_the_modality_and_of_its_groups():
    groups = {"students": ("sig@acc+gaf@gyro",), "teachers": ("gaf@acc,gaf@gyro,pi",)}
    given = {"gaf": {"range": "train", "size": "20"}, "gaf@gyro": {"size": 16}, "pi": {"sigma-pixels": 2}}
    (plain,) = specs(methods=("kd",), datasets=("basic-motions",), **groups)
    (other,) = specs(methods=("kd",), datasets=("basic-motions",), view=given, **groups)
    assert [other.views[m]["range"] for m in ("gaf@acc", "gaf@gyro")] == ["train", "train"]
    assert [other.views[m]["size"] for m in ("gaf@acc", "gaf@gyro", "pi")] == [20, 16, plain.views["pi"]["size"]]
    assert other.views["pi"]["sigma_pixels"] == 2.0
    assert other.views["sig@acc"] == plain.views["sig@acc"]
    for modality in other.teachers:
        assert other.teacher(modality).key != plain.teacher(modality).key
    short = {"gaf.range": "train", "gaf.size": 20, "gaf@gyro": {"size": 16}, "pi.sigma-pixels": 2.0}
    assert specs(methods=("kd",), datasets=("basic-motions",), view=short, **groups) == [other]


def test_methods_of_one_seed_share_data_views_teachers_and_training():
    taught = [s for s in specs(methods=("all",), teachers=("sig,gaf",), epoch_rule="val-best") if s.teachers]
    assert len(taught) > 1
    for modality in ("sig", "gaf"):
        assert len({s.teacher(modality).key for s in taught}) == 1
    assert len({(s.data, s.training, s.student_net) for s in taught}) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": ("kdd",)}, r"unknown method 'kdd'; did you mean 'kd'\? \(python -m mmkd.bench --list methods"),
        ({"datasets": ("gunpont",)}, "unknown data set 'gunpont'; did you mean 'gunpoint'"),
        ({"datasets": ("../datasets/coffee",)}, "unknown data set"),
        ({"data": "absent.npz"}, "--data absent.npz: no such file"),
        ({"students": ("sgi",)}, "--student sgi: unknown modality 'sgi'; did you mean 'sig'"),
        ({"students": ("sig+sig",)}, r"--student sig\+sig: a modality is named twice"),
        ({"students": ("sig+",)}, "unknown modality ''"),
        ({"students": ("sig,gaf",)}, "unknown modality 'sig,gaf'"),
        ({"methods": ("kd",), "teachers": ("sig,gfa",)}, "--teachers sig,gfa: unknown modality 'gfa'"),
        ({"methods": ("kd",), "teachers": ("sig,sig",)}, "--teachers sig,sig: a modality is named twice"),
        ({"teacher_nets": {"sgi": "WRN16-1"}}, "--teacher-net: unknown modality 'sgi'; did you mean 'sig'"),
        ({"options": {"kd": {"temperature": 2.0}}}, "options are given for method 'kd', which is not among student"),
        (
            {"methods": ("kd",), "options": {"kd": {"temprature": 2}}},
            "method 'kd' has no option 'temprature'; did you mean 'temperature'",
        ),
        (
            {"methods": ("kd",), "options": {"kd": {"temperature": [1, -1]}}},
            "method 'kd': temperature = -1.0 must be > 0",
        ),
        ({"datasets": ("pigcvp",), "epoch_rule": "val-best"}, "use --epoch-rule last"),
        ({"plugins": ("absent.py",)}, "--plugin .*absent.py: no such Python file"),
        ({"view": "gaf.range=train"}, "view 'gaf.range=train': write a mapping, such as {'gaf.range': 'train'}"),
        ({"view": {"gaf": "train"}}, "--view 'gaf': write a modality and its option, such as gaf.range=train"),
        ({"view": {"gaf.size": 8, "gaf": {"size": 9}}}, "--view: gaf.size is given twice"),
        ({"view": {"gfa": {"range": "train"}}}, "--view gfa.range: unknown modality 'gfa'; did you mean 'gaf'"),
        (
            {"students": ("gaf",), "view": {"gaf": {"rang": "train"}}},
            "--view gaf: modality gaf has no option 'rang'; did you mean 'range'",
        ),
        (
            {"students": ("gaf",), "view": {"gaf": {"range": "all"}}},
            "--view gaf: modality gaf: range = 'all' is not one of window, train",
        ),
        ({"view": {"sig": {"scale": 1}}}, r"modality sig has no option 'scale' \(it has none\)"),
        (
            {"students": ("sig",), "teachers": ("sig",), "view": {"pi": {"size": 9}}},
            "--view pi.size: no view pi is used here; add it to --teachers or --student",
        ),
    ],
)
def test_requests_no_unit_can_be_made_of(values, message):
    with pytest.raises(MmkdError, match=message):
        specs(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"students": ("sig+gaf",), "fusion": "concatt"}, "unknown fusion 'concatt'; did you mean 'concat'"),
        ({"student_net": "smal"}, "unknown backbone 'smal'; did you mean 'small'"),
        (
            {"methods": ("kd",), "teacher_nets": {"sig": "WRN16-11"}},
            "unknown backbone 'WRN16-11'; did you mean 'WRN16-1'",
        ),
        ({"students": ("gaf",), "image_size": 200}, "gaf of size 200 needs windows of at least 200 samples, found 150"),
    ],
)
@pytest.mark.parametrize("after", [(), ("student",)])
def test_networks_that_do_not_exist_are_refused_before_anything_is_written(tmp_path, values, message, after):
    request = Request(**{"methods": ("student",), **FAST, **values})
    request = replace(request, methods=(*request.methods, *after))
    with pytest.raises(MmkdError, match=message):
        execute(request, Workspace(tmp_path / "runs", tmp_path / "cache", "cpu"))
    assert list(tmp_path.iterdir()) == []


def test_pigcvp_runs_with_the_last_epoch():
    (spec,) = specs(datasets=("pigcvp",), epoch_rule="last")
    assert spec.data.epoch_rule == "last"
    assert spec.data.validation == 0.0


@pytest.mark.parametrize(("window", "size"), [(20, 20), (31, 31), (32, 32), (100, 32)])
def test_image_size_is_at_most_the_window(own, window, size):
    (spec,) = specs(data=own(window), students=("sig+gaf+pi",))
    assert spec.views["gaf"]["size"] == spec.views["pi"]["size"] == size
    assert "size" not in spec.views["sig"]
    (given,) = specs(data=own(window), students=("gaf",), image_size=8)
    assert given.views["gaf"]["size"] == 8


def test_own_data(own):
    path = own()
    ((spec, data),) = units(data=path)
    assert spec.data.name == data.name == "own"
    assert spec.data.sha256 == data.sha256


@pytest.mark.parametrize(
    "values",
    [
        {"students": ("sig",)},
        {"students": ("gaf", "sig+pi"), "teachers": ("pi", "sig,gaf")},
        {"students": ("sig+gaf",), "fusion": "attention", "epochs": 2, "image_size": 12, "seeds": (0, 3)},
        {"epoch_rule": "last", "preset": "full", "student_net": "WRN16-1", "precision": "bf16"},
        {"options": {"kd": {"temperature": [1, 2]}}, "teacher_nets": {"sig": "small"}},
    ],
)
def test_alone_is_the_unit_of_method_student(values):
    """What a method is measured against is the unit that `--method student` makes from the same request."""
    values = {"methods": ("student", "kd"), **FAST, **values}
    found = units(**values)
    students = {(s.seed, s.student): s.key for s, _ in found if s.method == "student"}
    assert len(found) > len(students)
    for spec, _ in found:
        unit = student_alone(spec)
        assert unit.method == "student"
        assert unit.key == students[spec.seed, spec.student]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seeds", (1,)),
        ("students", ("gaf",)),
        ("teachers", ("gaf",)),
        ("teacher_nets", {"sig": "small"}),
        ("student_net", "WRN16-1"),
        ("preset", "full"),
        ("epochs", 2),
        ("teacher_epochs", 2),
        ("nan", "drop"),
        ("epoch_rule", "val-best"),
        ("precision", "bf16"),
        ("options", {"kd": {"temperature": 2}}),
        ("datasets", ("coffee",)),
        ("methods", ("aver",)),
    ],
)
def test_every_field_of_a_request_reaches_the_key(name, value):
    assert name in {f.name for f in fields(Request)}
    before, after = specs(methods=("kd",)), specs(**{"methods": ("kd",), name: value})
    assert before[0].key != after[0].key


@pytest.mark.parametrize(("name", "value"), [("image_size", 12), ("fusion", "attention")])
def test_fields_for_images_and_branches_reach_the_key(name, value):
    before, after = specs(students=("sig+gaf",)), specs(students=("sig+gaf",), **{name: value})
    assert before[0].key != after[0].key


def test_plugin_of_a_request(tmp_path):
    path = tmp_path / "of_a_request.py"
    path.write_text("from mmkd import METHODS\nMETHODS.register('of-a-request')(METHODS.get('kd'))\n")
    try:
        (spec,) = specs(methods=("of-a-request",), plugins=(str(path),))
        assert spec.plugins == (str(path),)
        assert spec.teachers == {"sig": "WRN16-1"}
    finally:
        METHODS.unregister("of-a-request")
        sys.modules.pop("mmkd_plugin_of_a_request", None)


def test_a_preset_sets_options_that_a_user_may_set_again():
    (spec, _), *_ = expand(Request(methods=("fam",)))
    assert spec.options["stages"] == TASKS.get("classification").preset("quick").options["fam"]["stages"] == "deep"
    (spec, _), *_ = expand(Request(methods=("fam",), options={"fam": {"stages": "all"}}))
    assert spec.options["stages"] == "all"
    (spec, _), *_ = expand(Request(methods=("fam",), preset="full"))
    assert spec.options["stages"] == "all"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"teacher_nets": {"gaf": "WRN16-1"}, "teachers": ("sig",)}, "--teachers"),
        ({"teacher_nets": {"gaf": "NoSuchNet"}}, "NoSuchNet"),
        ({"fusion": "attention", "students": ("sig",)}, "--student sig"),
        ({"student_net": "smal"}, "small"),
        ({"options": {"kd": {"temperature": []}}}, "empty"),
        ({"seeds": (-1,)}, "negative"),
    ],
)
def test_settings_that_no_unit_would_use_are_refused(fields, words):
    with pytest.raises(MmkdError, match=words):
        list(expand(Request(methods=("kd",), **fields)))


def test_the_student_alone_has_the_same_weight_of_branches():
    from mmkd.units.expansion import student_alone

    request = Request(methods=("kd",), options={"kd": {"branch_weight": 0.2}})
    ((spec, _),) = expand(request)
    assert student_alone(spec).options == {"branch_weight": 0.2}


def test_a_method_whose_numbers_have_changed_makes_other_units(monkeypatch):
    """By its `revision`; the units of other methods, and the student alone, stay what they were."""
    methods = ("kd", "aver", "student")
    before = {spec.method: spec for spec in specs(methods=methods)}
    monkeypatch.setattr(METHODS.get("kd"), "revision", METHODS.get("kd").revision + 1)
    after = {spec.method: spec for spec in specs(methods=methods)}
    assert before["kd"].key != after["kd"].key
    for name in ("aver", "student"):
        assert before[name].key == after[name].key
    assert before["kd"].teachers
    assert all(before["kd"].teacher(name).key == after["kd"].teacher(name).key for name in before["kd"].teachers)
    assert student_alone(before["kd"]).key == student_alone(after["kd"]).key
