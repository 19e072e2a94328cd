"""One's own windows as UEA/UCR `.ts` text."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import load_file
from mmkd.data.text_files import read_ts

X = np.round(np.random.default_rng(0).normal(size=(12, 2, 9)), 6)
Y = np.array(["walk", "sit", "lie"])[np.arange(12) % 3]


def text(x=X, y=Y, header="@problemName Own\n@timestamps false\n@classLabel true walk sit lie\n", end="\n") -> str:
    cases = [":".join(",".join(map(str, d)) for d in case) + f":{label}" for case, label in zip(x, y, strict=True)]
    return end.join(["# a comment", *header.splitlines(), "@data", *cases, ""])


@pytest.fixture
def save(tmp_path):
    def write(content, name="own.ts"):
        path = tmp_path / name
        path.write_bytes(content.encode())
        return path

    return write


def refused(path, message):
    with pytest.raises(MmkdError, match=message) as error:
        load_file(path)
    assert f"--data {path}" in str(error.value)
    assert "\n" not in str(error.value)


def same(data, x=X, y=Y):
    np.testing.assert_array_equal(data.x, x.astype(np.float32))
    assert [data.classes[k] for k in data.y] == list(y)


def test_multivariate(save):
    data = load_file(save(text()))
    same(data)
    assert data.name == "own"
    assert data.classes == ("lie", "sit", "walk")
    assert data.test.sum() == 3


def test_univariate(save):
    same(load_file(save(text(X[:, :1]))), X[:, :1])


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t.replace("\n", "\n\n"),
        lambda t: t.replace("\n", "\n% another comment\n"),
        lambda t: t.replace("@data", "@DATA").replace("@timestamps false", "@timeStamps False"),
        lambda t: t.replace(",", ", ").replace(":", " : "),
        lambda t: t.rstrip("\n"),
        lambda t: t.replace("@classLabel true walk sit lie\n", ""),
        lambda t: t.replace("true walk sit lie", "true"),
        lambda t: t.replace("true walk sit lie", "true Walk SIT lie other"),
    ],
)
def test_ways_to_write_the_same(save, change):
    assert change(text()) != text()
    same(load_file(save(change(text()))))


def test_pair_is_read_from_either_file(save):
    train, test = slice(0, 7), slice(7, 12)
    one = save(text(X[train], Y[train]), "Own_TRAIN.ts")
    two = save(text(X[test], Y[test]), "Own_TEST.ts")
    for path in (one, two):
        data = load_file(path)
        same(data)
        assert data.test.tolist() == [False] * 7 + [True] * 5
        assert data.name == "Own"
    assert load_file(one).sha256 == load_file(two).sha256
    first = load_file(one).sha256
    save(text(X[test] + 1, Y[test]), "Own_TEST.ts")
    assert load_file(one).sha256 != first


@pytest.mark.parametrize(("have", "lacks"), [("TRAIN", "TEST"), ("TEST", "TRAIN")])
def test_pair_of_one(save, have, lacks):
    refused(save(text(), f"Own_{have}.ts"), f"Own_{lacks}.ts is missing beside it")


def test_pair_that_does_not_fit(save):
    save(text(X[:, :, :5]), "Own_TEST.ts")
    refused(save(text(), "Own_TRAIN.ts"), r"training cases have shape \(2, 9\) and test cases \(2, 5\)")


def test_pair_with_a_class_that_is_only_in_the_test_file(save):
    train = Y != "lie"
    save(text(), "Own_TEST.ts")
    with pytest.raises(MmkdError, match="class 'lie' has 4 test windows and none for training"):
        load_file(save(text(X[train], Y[train]), "Own_TRAIN.ts"))


def line(number, old, new):
    """Changes one of the cases, numbered from 0."""

    def change(whole):
        lines = whole.split("\n")
        at = lines.index("@data") + 1 + number
        assert old in lines[at]
        lines[at] = lines[at].replace(old, new, 1)
        return "\n".join(lines)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (line(3, ",", ",wrong,"), "line 9 of own.ts: could not convert string to float: 'wrong'"),
        (line(3, ",", ",,"), "line 9 of own.ts: could not convert string to float: ''"),
        (line(3, ",", ","), "nothing changed"),
        (line(2, ",", ",1.0,"), "line 8 of own.ts: dimensions or lengths differ from the cases before"),
        (line(0, ",", ",1.0,"), "line 6 of own.ts: dimensions or lengths differ"),
        (line(4, ":", ","), "line 10 of own.ts: dimensions or lengths differ"),
        (line(1, ":sit", ":"), "line 7 of own.ts has no class label"),
        (line(1, ":sit", ""), "line 7 of own.ts: label '.*' is not among those of @classLabel; is the line whole"),
        (line(1, ":sit", ":si"), "line 7 of own.ts: label 'si' is not among those of @classLabel; is the line whole"),
        (
            lambda t: t.replace("@classLabel true walk sit lie", "@classLabel false"),
            "line 6 of own.ts has no class label",
        ),
        (lambda t: t.replace("@timestamps false", "@timeStamps true"), "line 3 of own.ts: cases with time stamps"),
        (lambda t: t.replace("@data\n", ""), "line 5 of own.ts is neither a comment nor a header line before @data"),
        (lambda t: t[: t.index("@data")], "own.ts holds no case after @data"),
        (lambda t: t[: t.index("@data") + 6], "own.ts holds no case after @data"),
        (lambda t: "", "own.ts holds no case after @data"),
        (lambda t: t.replace(":walk", "").replace(":sit", "").replace(":lie", "").replace(":", ","), "no class label"),
    ],
)
def test_files_that_are_wrong(save, change, message):
    if message == "nothing changed":
        same(load_file(save(change(text()))))
    else:
        refused(save(change(text())), message)


def test_cut_off_inside_a_line_is_never_read(save):
    """Wherever the last line ends too early, the file is refused; half a label is no new class."""
    whole = text().rstrip("\n")
    start = whole.rindex("\n") + 1
    for end in range(start + 1, len(whole)):
        refused(save(whole[:end]), r"line 17 of own\.ts")
    same(load_file(save(whole)))


def test_no_text(tmp_path):
    (tmp_path / "own.ts").write_bytes(b"\xff\xfe\x00@data")
    refused(tmp_path / "own.ts", "it is UTF-16; save it as UTF-8")


@pytest.mark.parametrize("hole", ["?", "NaN", " ? ", "inf", "1e300"])
def test_missing_values(save, hole):
    x = X.astype("U12")
    x[4, 1, 3] = hole
    path = save(text(x))
    with pytest.raises(
        MmkdError, match=r"data 'own': 1 of 12 windows hold NaN or inf \(1 values\), the first is window 4"
    ):
        load_file(path)
    filled = load_file(path, nan="impute").x
    assert filled[4, 1, 3] == pytest.approx((X[4, 1, 2] + X[4, 1, 4]) / 2, abs=1e-6)
    assert len(load_file(path, nan="drop").x) == 11


# -- what the header says of the cases

HEADER = """@problemName Own
@timeStamps false
@univariate false
@dimensions 2
@equalLength true
@seriesLength 9
@classLabel true walk sit lie
"""


def test_a_header_that_is_right_may_have_tabs(save):
    same(load_file(save(text(header=HEADER))))
    same(load_file(save(text(header=HEADER.replace(" ", "\t")))))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "Length 9",
            "Length 12",
            "line 10 of own.ts has 9 values in a dimension, and @seriesLength says 12",
        ),
        ("dimensions 2", "dimensions 3", "line 10 of own.ts has 2 dimensions, and @dimensions says 3"),
        ("dimensions 2", "dimension 1", "line 10 of own.ts has 2 dimensions, and @dimensions says 1"),
        ("univariate false", "univariate true", "line 10 of own.ts has 2 dimensions, and @univariate says true"),
        ("classLabel true walk", "classLabel true run", "line 10 of own.ts: label 'walk' is not among those of @class"),
        (
            "classLabel true walk sit lie",
            "targetLabel true",
            "line 8 of own.ts: @targetLabel says .* regression",
        ),
        ("timeStamps false", "timeStamps\ttrue", "line 3 of own.ts: cases with time stamps are not supported"),
    ],
)
def test_headers_that_the_cases_contradict(save, old, new, message):
    refused(save(text(header=HEADER.replace(old, new))), message)


@pytest.mark.parametrize("header", [HEADER, ""])
def test_decimal_commas(save, header):
    refused(
        save(text(header=header).replace(".", ",")),
        r"line \d+ of own.ts: the values have decimal commas; write decimals with a point",
    )


@pytest.mark.parametrize(("sign", "name"), [(";", "a semicolon"), ("\t", "a tab"), (" ", "a blank"), ("|", "a bar")])
def test_other_separators_are_named(save, sign, name):
    header, cases = text().split("@data\n")
    refused(
        save(f"{header}@data\n{cases.replace(',', sign)}"),
        f"line .* of own.ts: {name} between values is not understood; write commas between them, and decimals with",
    )
    refused(save(f"{header}@data\n{cases.replace(',', sign).replace('.', ',')}"), f"{name} between values is not")


def test_whole_numbers_have_no_decimal_commas(save):
    x = np.arange(216).reshape(12, 2, 9) % 100
    same(load_file(save(text(x))), x)


def test_time_stamps_without_a_header_line(save):
    x = np.array([[[f"({i},{v})" for i, v in enumerate(c)] for c in case] for case in X])
    refused(save(text(x)), "line 6 of own.ts: cases with time stamps are not supported; resample them")


def test_fractions_without_a_list_of_classes_are_a_regression_target(save):
    y = np.array(["0.5", "1.25", "2.0"])[np.arange(12) % 3]
    refused(save(text(y=y, header="@classLabel true\n")), "labels are fractions such as 0.5: a regression target")
    same(load_file(save(text(y=y, header="@classLabel true 0.5 1.25 2.0\n"))), y=y)


def test_a_tsv_with_decimal_commas(save):
    rows = "\n".join(f"{k}\t0,5\t1,25\t{k},0" for k in (1, 2) * 5)
    refused(save(rows, "own.tsv"), "line 1 of own.tsv: could not convert .*; write decimals with a point")


def test_cases_of_unequal_length_in_an_archive(save):
    """They are padded, unless the header says that they have one length."""
    rows = "@data\n1,2,3:4,5,6:a\n1,2:4,5:b\n"
    padded = read_ts(save("@equalLength false\n" + rows), pad=True)
    assert padded.x.tolist() == [[[1, 2, 3], [4, 5, 6]], [[1, 2, 0], [4, 5, 0]]]
    with pytest.raises(MmkdError, match=r"line 4 of own\.ts has 2 values, 3 were before, and @equalLength says true"):
        read_ts(save("@equalLength true\n" + rows), pad=True)
